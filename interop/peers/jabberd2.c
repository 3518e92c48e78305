/* What jabberd2 2.7 needs beside OpenSSL 3.
 *
 * For each certificate it makes the object id of XmppAddr known, and OpenSSL 3 knows it already. The error of that stays
 * behind, and the next TLS record that arrives in two parts is taken for one that is broken: jabberd2 ends the stream,
 * without TLS, and what has come on it is lost. Here it gets the id that is known. */

int OBJ_create(const char *oid, const char *short_name, const char *long_name);
int OBJ_txt2nid(const char *text);

int OBJ_create(const char *oid, const char *short_name, const char *long_name)
{
    (void)short_name;
    (void)long_name;
    return OBJ_txt2nid(oid);
}
