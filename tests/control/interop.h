/* grpc.testing.TestService as the gRPC project's interoperability tests call it ("gRPC Interop Test Case Descriptions"). */
#ifndef HF_TESTS_CONTROL_INTEROP_H
#define HF_TESTS_CONTROL_INTEROP_H

#include "control/grpc/grpc.h"

/* 0 or HF_GRPC_E_*. */
int interop_add(struct hf_grpc_server *server);

#endif
