/* A client made of libstrophe: strophe_player JID PASSWORD. What it obeys and prints is in clients/program.py. */

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <strophe.h>

#define CARBONS "urn:xmpp:carbons:2"
#define ARCHIVE "urn:xmpp:mam:2"
#define BLOCKING "urn:xmpp:blocking"
#define ROOMS "http://jabber.org/protocol/muc"
#define FORWARD "urn:xmpp:forward:0"
/* How long the library may wait for its socket before it is this program's turn, in milliseconds. */
#define TURN 20

static int leaving = 0;

/* Prints a word and a text as one line. */
static void say(const char *word, const char *text)
{
    printf("%s ", word);
    for (; *text; text++)
        putchar(*text == '\n' || *text == '\r' ? ' ' : *text);
    putchar('\n');
    fflush(stdout);
}

static void on_log(void *userdata, xmpp_log_level_t level, const char *area, const char *text)
{
    int is_wire = strncmp(text, "SENT:", 5) == 0 || strncmp(text, "RECV:", 5) == 0;
    (void)userdata, (void)level, (void)area;
    say(is_wire ? "wire" : "log", text);
}

/* What is inside a copy (XEP-0280) or a result (XEP-0313), or the message itself. */
static xmpp_stanza_t *innermost(xmpp_stanza_t *message)
{
    xmpp_stanza_t *copy = xmpp_stanza_get_child_by_ns(message, CARBONS);
    xmpp_stanza_t *forwarded, *inner;

    if (!copy)
        copy = xmpp_stanza_get_child_by_ns(message, ARCHIVE);
    forwarded = copy ? xmpp_stanza_get_child_by_name_and_ns(copy, "forwarded", FORWARD) : NULL;
    inner = forwarded ? xmpp_stanza_get_child_by_name(forwarded, "message") : NULL;
    return inner ? inner : message;
}

static int on_message(xmpp_conn_t *conn, xmpp_stanza_t *stanza, void *userdata)
{
    xmpp_stanza_t *message = innermost(stanza);
    xmpp_stanza_t *body = xmpp_stanza_get_child_by_name(message, "body");
    const char *type = xmpp_stanza_get_type(message);
    char *text = body ? xmpp_stanza_get_text(body) : NULL;

    (void)userdata;
    if (text && !(type && strcmp(type, "error") == 0)) {
        printf("shown %s ", xmpp_stanza_get_from(message));
        say("", text);
    }
    if (text)
        xmpp_free(xmpp_conn_get_context(conn), text);
    return 1;
}

static int on_blocked(xmpp_conn_t *conn, xmpp_stanza_t *stanza, void *userdata)
{
    (void)conn, (void)userdata;
    if (strcmp(xmpp_stanza_get_type(stanza), "result") == 0)
        say("blocked", "");
    return 0;
}

static void begin(xmpp_conn_t *conn)
{
    xmpp_send_raw_string(conn, "<iq type='set' id='carbons'><enable xmlns='%s'/></iq>", CARBONS);
    xmpp_send_raw_string(conn, "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>");
    xmpp_send_raw_string(conn, "<presence/>");
    say("online", xmpp_conn_get_bound_jid(conn));
    xmpp_send_raw_string(conn, "<iq type='set' id='archive'><query xmlns='%s'/></iq>", ARCHIVE);
}

static void on_event(xmpp_conn_t *conn, xmpp_conn_event_t event, int error, xmpp_stream_error_t *fault, void *userdata)
{
    int *was_online = userdata;

    (void)fault;
    if (event != XMPP_CONN_CONNECT) {
        printf("log disconnected %d\n", error);
        fflush(stdout);
        return;
    }
    xmpp_handler_add(conn, on_message, NULL, "message", NULL, NULL);
    /* A session that is resumed is as it was. */
    if (!*was_online)
        begin(conn);
    *was_online = 1;
}

static void speak(xmpp_conn_t *conn, const char *type, const char *to, const char *text)
{
    xmpp_ctx_t *ctx = xmpp_conn_get_context(conn);
    char *id = xmpp_uuid_gen(ctx);
    xmpp_stanza_t *message = xmpp_message_new(ctx, type, to, id);

    xmpp_message_set_body(message, text);
    xmpp_send(conn, message);
    xmpp_stanza_release(message);
    xmpp_free(ctx, id);
}

static void obey(xmpp_conn_t *conn, char *line)
{
    char *order = strtok(line, " \n");
    char *jid = strtok(NULL, " \n");
    char *text = strtok(NULL, "\n");

    if (order && strcmp(order, "say") == 0 && jid && text) {
        speak(conn, "chat", jid, text);
    } else if (order && strcmp(order, "speak") == 0 && jid && text) {
        speak(conn, "groupchat", jid, text);
    } else if (order && strcmp(order, "enter") == 0 && jid && text) {
        xmpp_send_raw_string(conn, "<presence to='%s/%s'><x xmlns='%s'/></presence>", jid, text, ROOMS);
    } else if (order && strcmp(order, "block") == 0 && jid) {
        xmpp_id_handler_add(conn, on_blocked, "block", NULL);
        xmpp_send_raw_string(conn, "<iq type='set' id='block'><block xmlns='%s'><item jid='%s'/></block></iq>", BLOCKING,
                             jid);
    } else if (order && strcmp(order, "leave") == 0) {
        leaving = 1;
        xmpp_disconnect(conn);
    }
}

/* Hands on the lines that have come on standard input. */
static void listen_to_orders(xmpp_conn_t *conn)
{
    static char held[4096];
    static size_t length = 0;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char *end;

    while (poll(&input, 1, 0) > 0 && length + 1 < sizeof held) {
        ssize_t got = read(STDIN_FILENO, held + length, sizeof held - 1 - length);
        if (got <= 0)
            break;
        length += (size_t)got;
        held[length] = '\0';
        while ((end = strchr(held, '\n'))) {
            *end = '\0';
            obey(conn, held);
            length -= (size_t)(end + 1 - held);
            memmove(held, end + 1, length + 1);
        }
    }
}

int main(int count, char **arguments)
{
    xmpp_log_t log = {.handler = on_log, .userdata = NULL};
    int was_online = 0;
    xmpp_ctx_t *ctx;
    xmpp_conn_t *conn;

    if (count != 3)
        return 2;
    xmpp_initialize();
    ctx = xmpp_ctx_new(NULL, &log);
    conn = xmpp_conn_new(ctx);
    xmpp_conn_set_flags(conn, XMPP_CONN_FLAG_MANDATORY_TLS);
    xmpp_conn_set_jid(conn, arguments[1]);
    xmpp_conn_set_pass(conn, arguments[2]);
    while (!leaving || !xmpp_conn_is_disconnected(conn)) {
        if (!leaving && xmpp_conn_is_disconnected(conn)) {
            sleep(was_online);
            xmpp_connect_client(conn, NULL, 0, on_event, &was_online);
        }
        xmpp_run_once(ctx, TURN);
        listen_to_orders(conn);
    }
    xmpp_conn_release(conn);
    xmpp_ctx_free(ctx);
    xmpp_shutdown();
    return 0;
}
