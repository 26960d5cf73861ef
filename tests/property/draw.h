/* Draws what is done next: few SKUs, places, customers and ids, so that everything collides; times so short that everything ends. */
#ifndef HF_PROPERTY_DRAW_H
#define HF_PROPERTY_DRAW_H

#include "tests/property/world.h"

enum { HF_DRAW_ORDERS = 24, HF_DRAW_SENT = 512, HF_DRAW_SKUS = 8, HF_DRAW_LOCATIONS = 4 };

struct hf_draw {
    uint64_t random;
    struct hf_setting setting;
    uint64_t now_ns, latest_ns, serial;
    unsigned weight[8];       /* of this episode, by family of deed */
    uint32_t hurry;           /* how fast time goes */
    uint32_t favourites;      /* orders that verbs are about */
    uint32_t ahead_ms;        /* how far ids may be ahead in this episode */
    bool patient;             /* long holds */
    uint32_t burst, burst_at; /* so many more commands about one order */
    struct hf_id order[HF_DRAW_ORDERS];
    uint32_t last_intent[HF_DRAW_ORDERS];
    int64_t amount[HF_DRAW_ORDERS];
    uint32_t orders, sent;
    struct {
        _Alignas(8) uint8_t bytes[HF_COMMAND_BYTES_MAX];
    } past[HF_DRAW_SENT]; /* commands sent lately */
    uint32_t at;          /* order that the last command was about */
    _Alignas(8) uint8_t command[HF_COMMAND_BYTES_MAX];
};

void hf_draw_begin(struct hf_draw *draw, uint64_t seed, struct hf_setting *setting);
uint64_t hf_draw_number(struct hf_draw *draw);
uint64_t hf_draw_below(struct hf_draw *draw, uint64_t bound);

/* The next deed; its command, if any, is in draw->command. */
void hf_draw_next(struct hf_draw *draw, struct hf_deed *deed);
/* What became of it, so that what follows makes sense now and then. */
void hf_draw_learn(struct hf_draw *draw, const struct hf_command *command, const struct hf_answer *answer);

#endif
