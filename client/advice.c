/* What each result means to the person who got it. docs/protocol.md says the same at more length. */
#include "client/holdfast.h"

const char *hf_result_advice(unsigned result)
{
    static const char *const advice[HF_RESULT_COUNT] = {
        [HF_OK] = "done",
        [HF_BAD_FRAME] = "the frame is not of the documented form; client and engine differ in their protocol",
        [HF_BAD_CRC] = "the frame was damaged on the way; send it again",
        [HF_BAD_VERSION] = "the engine does not speak this version of the protocol; use tools of the engine's version",
        [HF_BAD_LENGTH] = "a length in the command does not add up; client and engine differ in their protocol",
        [HF_UNKNOWN_OPCODE] = "the engine does not know this command; it may be older than the tool",
        [HF_RESERVED_NOT_ZERO] = "a field that this command does not use is not zero",
        [HF_BAD_LINE_COUNT] = "the command has too few or too many lines; an order has 1 to 256",
        [HF_BAD_QUANTITY] = "a quantity must be 1 to 2147483647",
        [HF_BAD_EXTENSION] = "a needed text (a reason, a name, a payment reference) is missing or too long",
        [HF_BAD_ARGUMENT] = "an argument is out of its range: location and SKU must not be zero, bucket and status must be known ones",
        [HF_SESSION_EXPIRED] = "the session is forgotten; open a new one and send again under the same ids",
        [HF_CREDIT_OVERRUN] = "more requests were in flight than the session has credits; wait for answers first",
        [HF_TOO_LARGE] = "the request, or what it could be answered with, is larger than a frame; split it",
        [HF_BUSY] = "the engine has no room just now; send the same id again a little later",
        [HF_FULL] = "a table of the engine is full; start it with a larger size for the table named",
        [HF_NO_SPACE] = "the disk under the log is nearly full; free space, running orders can still be settled and cancelled",
        [HF_DRAINING] = "the engine is stopping; send the same id to it again when it is back",
        [HF_ID_REUSED] = "this id was used for another command; make a fresh id for each new command",
        [HF_ID_TOO_OLD] =
            "the id is older than the engine remembers, so it cannot tell whether it ran; look at the state, then use a fresh id",
        [HF_ID_IN_FUTURE] = "the id is over an hour ahead of the engine's time; make ids from the time in WELCOME",
        [HF_WRONG_ROUTE] = "the route bits of the id are not those of the first line's SKU",
        [HF_TOO_MANY] = "the order has had 64 commands within the retention time; wait before sending another",
        [HF_UNKNOWN_SKU] = "the SKU is not defined; define it with 'holdfast sku define'",
        [HF_UNKNOWN_LOCATION] = "the location is not defined; define it with 'holdfast location define'",
        [HF_UNKNOWN_CHANNEL] = "the channel does not exist; 1 is the web shop",
        [HF_UNKNOWN_ORDER] = "no such order is known: it was never placed, was refused, or ended longer ago than the retention time",
        [HF_NOT_ON_SALE] = "the SKU's sale window is not open",
        [HF_LIMIT_PER_ORDER] = "more units of the SKU than one order may have",
        [HF_LIMIT_PER_CUSTOMER] = "more units of the SKU than one customer may have in this window",
        [HF_SHORT] = "not enough stock; the short lines say what is left",
        [HF_STOCK_LOST] = "the hold had ended and the stock is gone; the payment is marked for refund",
        [HF_BAD_STATE] = "the order's state does not allow it; the answer says the state",
        [HF_STALE_VERSION] = "the cell changed since it was read; read it again",
        [HF_NOT_APPLIED] = "a newer value from this source was there already; nothing changed",
        [HF_BELOW_ZERO] = "it would go below zero or below what is promised; use --force if it is a fact",
        [HF_OVERFLOW] = "the number would not fit",
        [HF_UNKNOWN_INTENT] = "the order has no intent of this number",
        [HF_AMOUNT_MISMATCH] = "amount or currency are not those of the intent",
        [HF_REFUND_DUE] = "the order is forgotten; the payment is marked for refund",
        [HF_NOT_FOUND] = "nothing is stored under this key",
        [HF_NOT_RETAINED] = "the log from this position on is not kept any more; take the state as it is, and follow from its position",
        [HF_LOG_DAMAGED] =
            "a durable block does not check when it is read back; the engine says where, `holdfast journal verify` says more",
    };
    return result < HF_RESULT_COUNT && advice[result] ? advice[result]
                                                      : "this tool does not know the code; it may be older than the engine";
}
