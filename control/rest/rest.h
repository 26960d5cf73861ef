/*
 * REST beside gRPC: JSON over HTTP/1.1 and HTTP/2, on the same port and the same handlers. One table of routes (routes.c) says which
 * request runs which method and makes the OpenAPI document; a request becomes the same protobuf message that gRPC would bring.
 *
 * Threads: create, attach and destroy are one thread's, before the server starts and after it stopped; all else runs on the server's loop.
 * Memory: a request's is its stream's (hf_http_alloc), which the loop bounds; an answer's text is malloc's until it is queued.
 */
#ifndef HF_CONTROL_REST_REST_H
#define HF_CONTROL_REST_REST_H

#include "control/grpc/http.h"

struct hf_rest;

/* A page that is no method: GET and HEAD of `path` answer what `write` writes. */
struct hf_rest_page {
    const char *path, *content_type, *summary;
    /* Writes up to `room` bytes to `out` as snprintf does, without its NUL; returns how many there are, and is called again with more room
     * if there are more. On the loop: it must not block. */
    size_t (*write)(void *context, char *out, size_t room);
    void *context;
};

struct hf_rest_options {
    const char *const *listen; /* as given to the server: the names that a request's host may have */
    unsigned listen_count;
    size_t body_max_bytes;            /* of a request; 0: 256 KiB */
    const struct hf_rest_page *pages; /* beside the routes; must outlive it */
    unsigned page_count;
};

/* 0 or HF_GRPC_E_MEMORY. */
int hf_rest_create(const struct hf_rest_options *options, struct hf_rest **out);
/* For hf_grpc_options.http. */
const struct hf_http_handler *hf_rest_handler(struct hf_rest *rest);
/* After the services were added, before start: finds each route's method and writes the OpenAPI document. HF_GRPC_E_USAGE: a route names a
 * method, or a field of one, that is not there. */
int hf_rest_attach(struct hf_rest *rest, struct hf_grpc_server *server);
void hf_rest_destroy(struct hf_rest *rest);

#endif
