/*
 * libwebsockets as a peer: `serve` listens, `connect` makes a connection for each line of standard input.
 */
#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A message to send, behind the room that the library wants in front of it. */
struct outgoing {
	struct outgoing *next;
	enum lws_write_protocol type;
	size_t size, sent, part;
	int begun;
	unsigned char bytes[];
};

/* A connection and what has been seen of it. */
struct session {
	char id[16], steps[128], *step, *rest;
	struct outgoing *first, **last;
	unsigned char *message;
	size_t size;
	long left, received;
	int counts, closing;
	char pong[128], reason[128], subprotocol[32];
	int code;
};

static const char *const modes[] = {"none", "takeover", "fresh", "window9"};

static const struct lws_extension extensions[][2] = {
	{{NULL, NULL, NULL}},
	{{"permessage-deflate", lws_extension_callback_pm_deflate, "permessage-deflate; client_max_window_bits"}},
	{{"permessage-deflate", lws_extension_callback_pm_deflate,
	  "permessage-deflate; server_no_context_takeover; client_no_context_takeover"}},
	{{"permessage-deflate", lws_extension_callback_pm_deflate,
	  "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9"}},
};

static struct lws_vhost *vhosts[4];

static void enqueue(struct session *s, enum lws_write_protocol type, const void *bytes, size_t size, size_t part)
{
	struct outgoing *item = malloc(sizeof(*item) + LWS_PRE + size);

	*item = (struct outgoing){.type = type, .size = size, .part = part};
	memcpy(item->bytes + LWS_PRE, bytes, size);
	*s->last = item;
	s->last = &item->next;
}

static void flood(struct session *s, int count, size_t size)
{
	unsigned char *bytes = malloc(size);

	for (int sent = 0; sent < count; sent++) {
		memset(bytes, sent, size);
		enqueue(s, LWS_WRITE_BINARY, bytes, size, size);
	}
	free(bytes);
}

/* Goes on to the next step that has to wait for something. */
static void advance(struct lws *wsi, struct session *s)
{
	while ((s->step = strsep(&s->rest, ","))) {
		char *args = s->step, *verb = strsep(&args, ":");

		if (!strcmp(verb, "flood")) {
			char *count = strsep(&args, ":");

			flood(s, atoi(count), strtoul(args, NULL, 10));
		} else if (!strcmp(verb, "close")) {
			char *code = strsep(&args, ":");

			s->closing = 1;
			if (code) lws_close_reason(wsi, atoi(code), (unsigned char *)args, args ? strlen(args) : 0);
		} else {
			if (!strcmp(verb, "ping")) enqueue(s, LWS_WRITE_PING, args, strlen(args), strlen(args));
			else if (!strcmp(verb, "count")) s->counts = 1;
			else s->left = atol(args) ? atol(args) : -1;
			break;
		}
	}
	lws_callback_on_writable(wsi);
}

static void receive(struct lws *wsi, struct session *s, const void *bytes, size_t size)
{
	s->message = realloc(s->message, s->size + size + 1);
	memcpy(s->message + s->size, bytes, size);
	s->size += size;
	if (!lws_is_final_fragment(wsi)) return;
	s->received++;
	size = s->size;
	s->size = 0;
	if (!s->step || s->counts || !s->left) return;
	enqueue(s, lws_frame_is_binary(wsi) ? LWS_WRITE_BINARY : LWS_WRITE_TEXT, s->message, size,
		*s->step == 'f' ? (size + 2) / 3 : size);
	if (s->left > 0 && --s->left == 0) advance(wsi, s);
	lws_callback_on_writable(wsi);
}

/* Called when what was written before has left the compressor, which reads from the message until then. */
static int write_next(struct lws *wsi, struct session *s)
{
	struct outgoing *item = s->first;
	size_t size;
	int flags;

	if (item && item->sent == item->size && item->begun) {
		s->first = item->next;
		if (!s->first) s->last = &s->first;
		free(item);
		item = s->first;
	}
	if (!item) return s->closing ? -1 : 0;
	size = item->size - item->sent < item->part ? item->size - item->sent : item->part;
	flags = item->type == LWS_WRITE_PING
		? LWS_WRITE_PING
		: lws_write_ws_flags(item->type, !item->begun, item->sent + size == item->size);
	if (lws_write(wsi, item->bytes + LWS_PRE + item->sent, size, flags) < 0) return -1;
	item->begun = 1;
	item->sent += size;
	lws_callback_on_writable(wsi);
	return 0;
}

static void begin(struct lws *wsi, struct session *s)
{
	s->last = &s->first;
	s->rest = s->steps;
	advance(wsi, s);
}

static void ended(struct session *s)
{
	struct outgoing *item;

	printf("{\"id\":\"%s\",\"subprotocol\":\"%s\"", s->id, s->subprotocol);
	if (s->counts) printf(",\"received\":%ld", s->received);
	if (*s->pong) printf(",\"pong\":\"%s\"", s->pong);
	if (s->code) printf(",\"code\":%d,\"reason\":\"%s\"", s->code, s->reason);
	else if (!s->closing) printf(",\"error\":\"no Close frame\"");
	printf("}\n");
	while ((item = s->first)) {
		s->first = item->next;
		free(item);
	}
	free(s->message);
	s->message = NULL;
}

static void refused(struct session *s, const char *why)
{
	printf("{\"id\":\"%s\",\"error\":\"%s\"", s->id, why ? why : "no connection");
	if (why && strstr(why, "unauthorized")) printf(",\"status\":401");
	printf("}\n");
}

static int refuse(struct lws *wsi)
{
	unsigned char head[LWS_PRE + 512], *start = head + LWS_PRE, *at = start, *end = head + sizeof(head) - 1;
	static const char challenge[] = "Bearer realm=\"interop\"";

	if (lws_add_http_common_headers(wsi, 401, "text/plain", 0, &at, end) ||
	    lws_add_http_header_by_name(wsi, (const unsigned char *)"www-authenticate:",
					(const unsigned char *)challenge, sizeof(challenge) - 1, &at, end) ||
	    lws_finalize_write_http_header(wsi, start, &at, end))
		return -1;
	return lws_http_transaction_completed(wsi) ? -1 : 1;
}

static void see_close(struct session *s, const unsigned char *payload, size_t size)
{
	s->code = size < 2 ? 1005 : payload[0] << 8 | payload[1];
	if (size > 2) snprintf(s->reason, sizeof(s->reason), "%.*s", (int)size - 2, payload + 2);
}

static void copy_argument(struct lws *wsi, const char *name, char *to, size_t size)
{
	char text[256];
	const char *value = lws_get_urlarg_by_name(wsi, name, text, sizeof(text));

	snprintf(to, size, "%s", value ? value : "");
}

static int on_event(struct lws *wsi, enum lws_callback_reasons event, void *user, void *in, size_t len)
{
	const char *name = lws_get_protocol(wsi) ? lws_get_protocol(wsi)->name : "";
	struct session *s = user;
	char uri[64];

	switch (event) {
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		lws_hdr_copy(wsi, uri, sizeof(uri), WSI_TOKEN_GET_URI);
		return strcmp(uri, "/refuse") ? 0 : refuse(wsi);
	case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
		copy_argument(wsi, "id=", s->id, sizeof(s->id));
		copy_argument(wsi, "do=", s->steps, sizeof(s->steps));
		break;
	case LWS_CALLBACK_ESTABLISHED:
		if (strcmp(name, "default")) strcpy(s->subprotocol, name);
		begin(wsi, s);
		break;
	case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
		lws_hdr_copy(wsi, s->subprotocol, sizeof(s->subprotocol), WSI_TOKEN_PROTOCOL);
		break;
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		begin(wsi, s);
		break;
	case LWS_CALLBACK_RECEIVE:
	case LWS_CALLBACK_CLIENT_RECEIVE:
		receive(wsi, s, in, len);
		break;
	case LWS_CALLBACK_RECEIVE_PONG:
	case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
		snprintf(s->pong, sizeof(s->pong), "%.*s", (int)len, (char *)in);
		advance(wsi, s);
		break;
	case LWS_CALLBACK_SERVER_WRITEABLE:
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return write_next(wsi, s);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		see_close(s, in, len);
		break;
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_CLIENT_CLOSED:
		ended(s);
		break;
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		refused(s, in);
		break;
	default:
		break;
	}
	return 0;
}

static int mode_of(const char *name)
{
	int mode = 3;

	while (mode > 0 && strcmp(modes[mode], name)) mode--;
	return mode;
}

static void dial(struct lws_context *context, char *line)
{
	struct lws_client_connect_info to = {.context = context, .ietf_version_or_minus_one = -1, .alpn = "http/1.1"};
	struct session *s = calloc(1, sizeof(*s));
	const char *scheme, *path;
	char url[256], target[256], subprotocols[64], mode[16];

	sscanf(line, "%15s %255s %127s %63s %15s", s->id, url, s->steps, subprotocols, mode);
	if (lws_parse_uri(url, &scheme, &to.address, &to.port, &path)) exit(1);
	snprintf(target, sizeof(target), "/%s", path);
	to.path = target;
	to.host = to.address;
	to.protocol = strcmp(subprotocols, "-") ? subprotocols : NULL;
	to.local_protocol_name = "default";
	to.vhost = vhosts[mode_of(mode)];
	to.userdata = s;
	lws_client_connect_via_info(&to);
}

static int on_input(struct lws *wsi, enum lws_callback_reasons event, void *user, void *in, size_t len)
{
	static char text[65536];
	static size_t size;
	char *end;

	if (event == LWS_CALLBACK_RAW_CLOSE_FILE) exit(0);
	if (event != LWS_CALLBACK_RAW_RX_FILE) return 0;
	len = read(0, text + size, sizeof(text) - size - 1);
	if ((ssize_t)len <= 0) exit(0);
	size += len;
	while ((end = memchr(text, '\n', size))) {
		*end = 0;
		dial(lws_get_context(wsi), text);
		size -= end + 1 - text;
		memmove(text, end + 1, size);
	}
	return 0;
}

static const struct lws_protocols client_protocols[] = {
	{"default", on_event, 0, 4096}, {"chat.v2", on_event, 0, 4096}, {"input", on_input, 0, 0}, {NULL, NULL, 0, 0}};
static const struct lws_protocols server_protocols[] = {{"default", on_event, sizeof(struct session), 4096},
							{"chat.v2", on_event, sizeof(struct session), 4096},
							{"input", on_input, 0, 0},
							{NULL, NULL, 0, 0}};

int main(int count, char **args)
{
	int serves = count > 1 && !strcmp(args[1], "serve");
	struct lws_context_creation_info info = {
		.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DISABLE_IPV6};
	struct lws_context *context;
	lws_sock_file_fd_type input = {.filefd = 0};

	setvbuf(stdout, NULL, _IOLBF, 0);
	lws_set_log_level(LLL_ERR | LLL_WARN, NULL);
	context = lws_create_context(&info);
	info.iface = "127.0.0.1";
	info.port = serves ? 0 : CONTEXT_PORT_NO_LISTEN;
	info.protocols = serves ? server_protocols : client_protocols;
	for (int mode = 0; mode < 4; mode++) {
		info.vhost_name = modes[mode];
		info.extensions = mode ? extensions[mode] : NULL;
		vhosts[mode] = lws_create_vhost(context, &info);
	}
	if (serves)
		printf("{\"listening\":{\"none\":%d,\"takeover\":%d,\"fresh\":%d,\"window9\":%d}}\n",
		       lws_get_vhost_listen_port(vhosts[0]), lws_get_vhost_listen_port(vhosts[1]),
		       lws_get_vhost_listen_port(vhosts[2]), lws_get_vhost_listen_port(vhosts[3]));
	lws_adopt_descriptor_vhost(vhosts[0], LWS_ADOPT_RAW_FILE_DESC, input, "input", NULL);
	while (lws_service(context, 0) >= 0) continue;
	return 0;
}
