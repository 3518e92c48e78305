/* Reads documents with expat and with libxml2 and says what each has found in them.
 *
 * On standard input come documents, each behind its length (four octets, the smallest first). For each there are two answers on
 * standard output, of expat and of libxml2: one octet (1: read, 0: refused), a length like that, and what was found, or why it was
 * refused. In what was found stand only octets that no document has:
 *
 *   1 name   an element begins        3 name 4 value   an attribute of it
 *   5        its start tag ends       6                the innermost element ends
 *
 * Behind the last two may be character data. A name is its namespace, the octet 2, and its local part.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <expat.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlerror.h>

enum { ELEMENT = 1, PART = 2, ATTRIBUTE = 3, VALUE = 4, OPEN = 5, END = 6 };

struct finding {
    char *octets;
    size_t used, room;
    char why[256];
    int refused;
};

static void put(struct finding *finding, const void *octets, size_t length) {
    if (finding->room - finding->used < length) {
        finding->room = 2 * (finding->used + length);
        finding->octets = realloc(finding->octets, finding->room);
        if (!finding->octets) {
            abort();
        }
    }
    memcpy(finding->octets + finding->used, octets, length);
    finding->used += length;
}

static void mark(struct finding *finding, char octet) {
    put(finding, &octet, 1);
}

static void put_name(struct finding *finding, const char *namespace, const char *local) {
    if (namespace) {
        put(finding, namespace, strlen(namespace));
    }
    mark(finding, PART);
    put(finding, local, strlen(local));
}

static void refuse(struct finding *finding, const char *why) {
    finding->refused = 1;
    snprintf(finding->why, sizeof finding->why, "%s", why);
}

/* -- expat */

static void expat_name(struct finding *finding, const char *name) {
    /* The separator stands only in names that have a namespace. */
    if (strchr(name, PART)) {
        put(finding, name, strlen(name));
    } else {
        put_name(finding, NULL, name);
    }
}

static void XMLCALL expat_start(void *data, const XML_Char *name, const XML_Char **attributes) {
    struct finding *finding = data;
    mark(finding, ELEMENT);
    expat_name(finding, name);
    for (; attributes[0]; attributes += 2) {
        mark(finding, ATTRIBUTE);
        expat_name(finding, attributes[0]);
        mark(finding, VALUE);
        put(finding, attributes[1], strlen(attributes[1]));
    }
    mark(finding, OPEN);
}

static void XMLCALL expat_end(void *data, const XML_Char *name) {
    (void)name;
    mark(data, END);
}

static void XMLCALL expat_text(void *data, const XML_Char *text, int length) {
    put(data, text, (size_t)length);
}

static void read_with_expat(const char *document, size_t length, struct finding *finding) {
    XML_Parser parser = XML_ParserCreateNS("UTF-8", PART);
    if (!parser) {
        abort();
    }
    XML_SetUserData(parser, finding);
    XML_SetElementHandler(parser, expat_start, expat_end);
    XML_SetCharacterDataHandler(parser, expat_text);
    if (XML_Parse(parser, document, (int)length, 1) != XML_STATUS_OK) {
        refuse(finding, XML_ErrorString(XML_GetErrorCode(parser)));
    }
    XML_ParserFree(parser);
}

/* -- libxml2 */

static void libxml_start(void *data, const xmlChar *local, const xmlChar *prefix, const xmlChar *namespace,
                         int declarations, const xmlChar **declared, int count, int defaulted,
                         const xmlChar **attributes) {
    struct finding *finding = data;
    (void)prefix, (void)declarations, (void)declared, (void)defaulted;
    mark(finding, ELEMENT);
    put_name(finding, (const char *)namespace, (const char *)local);
    /* Five pointers each: local part, prefix, namespace, and where the value begins and ends. */
    for (int at = 0; at < count; at++, attributes += 5) {
        mark(finding, ATTRIBUTE);
        put_name(finding, (const char *)attributes[2], (const char *)attributes[0]);
        mark(finding, VALUE);
        put(finding, attributes[3], (size_t)(attributes[4] - attributes[3]));
    }
    mark(finding, OPEN);
}

static void libxml_end(void *data, const xmlChar *local, const xmlChar *prefix, const xmlChar *namespace) {
    (void)local, (void)prefix, (void)namespace;
    mark(data, END);
}

static void libxml_text(void *data, const xmlChar *text, int length) {
    put(data, text, (size_t)length);
}

/* That a namespace is no URI is a matter of taste: nobody has to look (Namespaces in XML 1.0 §3). */
static void libxml_fault(void *data, xmlErrorPtr fault) {
    if (fault->level >= XML_ERR_ERROR && fault->code != XML_WAR_NS_URI) {
        refuse(data, fault->message ? fault->message : "refused");
    }
}

static void read_with_libxml(const char *document, size_t length, struct finding *finding) {
    xmlParserCtxtPtr context = xmlCreateMemoryParserCtxt(document, (int)length);
    if (!context) {
        refuse(finding, "nothing is there");
        return;
    }
    /* XML_PARSE_NOENT: without it values come with their references. */
    xmlCtxtUseOptions(context, XML_PARSE_NOENT | XML_PARSE_NONET);
    memset(context->sax, 0, sizeof *context->sax);
    context->sax->initialized = XML_SAX2_MAGIC;
    context->sax->startElementNs = libxml_start;
    context->sax->endElementNs = libxml_end;
    context->sax->characters = libxml_text;
    context->sax->ignorableWhitespace = libxml_text;
    context->sax->cdataBlock = libxml_text;
    context->sax->serror = libxml_fault;
    context->userData = finding;
    xmlParseDocument(context);
    if (!context->wellFormed && !finding->refused) {
        refuse(finding, "not well-formed");
    }
    xmlFreeParserCtxt(context);
}

/* -- the conversation */

static void put_length(uint32_t length) {
    unsigned char octets[4] = {length & 0xff, length >> 8 & 0xff, length >> 16 & 0xff, length >> 24 & 0xff};
    fwrite(octets, 1, sizeof octets, stdout);
}

static void answer(struct finding *finding) {
    const char *octets = finding->refused ? finding->why : finding->octets;
    size_t length = finding->refused ? strlen(finding->why) : finding->used;
    putchar(!finding->refused);
    put_length((uint32_t)length);
    fwrite(octets, 1, length, stdout);
    finding->used = 0;
    finding->refused = 0;
}

int main(void) {
    struct finding finding = {0};
    char *document = NULL;
    size_t room = 0;
    unsigned char head[4];
    mark(&finding, 0);
    finding.used = 0;
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        size_t length = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        if (length >= room) {
            room = 2 * (length + 1);
            document = realloc(document, room);
            if (!document) {
                abort();
            }
        }
        if (fread(document, 1, length, stdin) != length) {
            return 1;
        }
        read_with_expat(document, length, &finding);
        answer(&finding);
        read_with_libxml(document, length, &finding);
        answer(&finding);
        fflush(stdout);
    }
    free(document);
    free(finding.octets);
    return 0;
}
