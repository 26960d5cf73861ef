/*
 * The log's recovery rule (docs/journal.md; persist/recover.c, persist/drain.c) in small, for Spin: every order in which up to BLOCKS blocks,
 * FLIGHTS of them in flight, are submitted, reach the device's cache and its medium, over ENDS ends of the process by SIGKILL, loss of power
 * or a clean stop, at every step of a life, also of a start.
 *
 * A slot stands for 4 KiB, a block takes one, block_max is two: the next block lies at the tip or, if that is odd, at the next even slot. A
 * checksum is the block's own number in the model, so `previous` names a block exactly. What cannot be seen here: segments that are missing,
 * formats, the two copies of the manifest (writing it is one durable step).
 *
 * One fault at most: a block rots at rest; a write lands elsewhere and is reported as done; a killed process's write lands after the next
 * start, as long as nobody has written there since (the lock on the directory forbids it, the rule must not need that).
 *
 * What must hold after every recovery:
 *   - what it accepts is a prefix of the log as it was written: no block of a term that was cut, none twice, none out of place, no gap;
 *   - without damage it refuses nothing, and accepts every block that was answered, and every block that an earlier start served from;
 *   - with damage it refuses, or what it cuts was known durable to nothing that is left: no later block that stands, beginning or clean end;
 *   - it refuses only if something answered or served from is damaged.
 *
 * Each mutant, a macro, takes one rule away or adds a wrong one; each must break an assert.
 */
#ifndef BLOCKS
#define BLOCKS 4
#endif
#ifndef ENDS
#define ENDS 2
#endif
#define FLIGHTS 3

#define SLOTS     (2 * BLOCKS)
#define BLOCK_MAX 2
#define WINDOW    4
#ifdef SHORT_LOOK
#define LOOK 4
#else
#define LOOK SLOTS
#endif

#define ZEROS 0
#define TORN  255

#define FAULT_NONE      0
#define FAULT_ROT       1
#define FAULT_MISDIRECT 2
#define FAULT_LATE      3

typedef block {
    byte term;
    byte number;   /* over the whole log */
    byte place;    /* that the header says */
    byte previous; /* the block before; 0: the seed */
    byte durable;  /* stated */
    byte at;       /* where it reached the device; SLOTS: not yet */
    bool ended;    /* on the medium, and the engine knows */
};

typedef beginning {
    byte place;
    byte number;
    byte chain;
};

/* Of each slot: what a read sees, and what is left without power. 0 zeros, TORN, or a block's number in `blocks`. */
byte seen[SLOTS];
byte disk[SLOTS];

block blocks[BLOCKS + 1]; /* from 1 */
byte last;                /* the newest */
byte flight = 1;          /* the oldest in flight; last + 1: none */

beginning manifest[ENDS + 1]; /* term t at t - 1 */
byte terms;
bool clean;
byte clean_end;
byte clean_chain;

/* The engine, and at the end of a recovery its result. */
byte mine; /* its term */
byte tip;
byte number;
byte chain;
byte durable;
bool damage;
byte accepted;

/* What the world knows. A block's index in truth is its number. */
byte truth[BLOCKS];
byte written; /* how many of them there are */
byte kept;    /* how many of them were answered, or served from */
byte fault;
byte late; /* the block that comes late; 0: none */
byte ends;

/* Scratch; 0 between steps. */
byte p;
byte id;
/* Scratch of a single d_step: not part of a state. */
hidden byte i;
hidden byte term;
hidden byte next;
hidden byte found;
hidden byte lost;
hidden byte known;

#ifdef OTHER_POSITION
#define SOUND(slot) (seen[slot] != ZEROS && seen[slot] != TORN)
#else
#define SOUND(slot) (seen[slot] != ZEROS && seen[slot] != TORN && blocks[seen[slot]].place == (slot))
#endif

#ifdef OLDER_TERM
#define TERM_FOLLOWS(b) true
#else
#define TERM_FOLLOWS(b) (blocks[b].term == term)
#endif

#ifdef ACCEPT_GAP
#define CONTINUES(b) TERM_FOLLOWS(b)
#else
#define CONTINUES(b) (blocks[b].number == number && blocks[b].previous == chain && TERM_FOLLOWS(b))
#endif

inline apply_beginnings()
{
    do
    :: !damage && next < terms && manifest[next].place <= tip ->
        if
        :: manifest[next].place < tip || manifest[next].number != number || manifest[next].chain != chain -> damage = true
        :: else ->
            term = next + 1;
            if
            :: manifest[next].place > durable -> durable = manifest[next].place
            :: else
            fi;
            next++
        fi
    :: else -> break
    od
}

inline find_next()
{
    found = false;
    p = tip;
    if
    :: p < SLOTS && SOUND(p) && CONTINUES(seen[p]) -> found = true
    :: else ->
        p = (tip / BLOCK_MAX + 1) * BLOCK_MAX;
        if
        :: tip % BLOCK_MAX != 0 && p < SLOTS && SOUND(p) && CONTINUES(seen[p]) -> found = true
        :: else
        fi
    fi
}

inline accept()
{
    id = seen[p];
    assert(blocks[id].place == p);
    assert(accepted < written && truth[accepted] == id);
    accepted++;
    tip = p + 1;
    number++;
    chain = id;
    if
    :: blocks[id].durable > durable -> durable = blocks[id].durable
    :: else
    fi
}

inline judge_hole()
{
#ifndef IGNORE_BEGINNINGS
    if
    :: next < terms -> damage = true
    :: else
    fi;
#endif
#ifndef IGNORE_CLEAN
    if
    :: clean -> damage = true
    :: else
    fi;
#endif
    p = tip;
    do
    :: p < SLOTS && p < tip + LOOK && !damage ->
        if
        :: !SOUND(p) || blocks[seen[p]].term < term -> skip
#ifdef REFUSE_ANY_LATER
        :: else -> damage = true
#elif defined(IGNORE_STATED)
        :: else -> skip
#else
        :: else -> damage = blocks[seen[p]].durable > tip || p > tip + WINDOW || p == tip
#endif
        fi;
        p++
    :: else -> break
    od
}

inline recover()
{
    d_step {
        tip = 0; number = 0; chain = 0; durable = 0; accepted = 0; damage = false; term = 0; next = 0;
        do
        :: true ->
            apply_beginnings();
            if
            :: damage -> break
            :: else
            fi;
            if
            :: clean && next == terms && tip == clean_end ->
                damage = chain != clean_chain;
                durable = tip;
                break
            :: else
            fi;
            find_next();
            if
            :: found -> accept()
            :: else ->
                judge_hole();
                break
            fi
        od
    }
}

/* Whether something that is left says that truth[i] was durable. */
inline is_known(t)
{
    known = (terms != 0 && manifest[terms - 1].place > blocks[t].place) || (clean && clean_end > blocks[t].place);
    p = 0;
    do
    :: p < written ->
        known = known || (seen[blocks[truth[p]].place] == truth[p] && blocks[truth[p]].durable > blocks[t].place);
        p++
    :: else -> break
    od
}

inline check_recovery()
{
    d_step {
        if
        :: fault == FAULT_NONE || fault == FAULT_LATE ->
            assert(!damage);
            assert(accepted >= kept)
        :: else ->
            lost = false;
            i = 0;
            do
            :: i < kept ->
                lost = lost || seen[blocks[truth[i]].place] != truth[i];
                i++
            :: else -> break
            od;
            assert(!damage || lost);
            i = accepted;
            do
            :: i < kept && !damage ->
                is_known(truth[i]);
                assert(!known);
                i++
            :: else -> break
            od
        fi;
        p = 0; id = 0
    }
}

inline rot_at_rest()
{
    if
    :: fault == FAULT_NONE && last != 0 ->
        p = 0;
        do
        :: p < SLOTS - 1 -> p++
        :: break
        od;
        if
        :: seen[p] != ZEROS && seen[p] != TORN ->
            seen[p] = TORN;
            disk[p] = TORN;
            fault = FAULT_ROT
        :: else
        fi
    :: true
    fi
}

/* What a killed process had in flight may stand half, or come late; what the cache holds stays to be read. */
inline kill()
{
    id = flight;
    do
    :: id <= last ->
        if
        :: blocks[id].at == SLOTS -> seen[blocks[id].place] = TORN
        :: blocks[id].at == SLOTS && fault == FAULT_NONE -> late = id; fault = FAULT_LATE
        :: true
        fi;
        id++
    :: else -> break
    od
}

/* Of what is not on the medium each slot is kept, lost or torn. */
inline lose_power()
{
    id = flight;
    do
    :: id <= last ->
        if
        :: blocks[id].at == SLOTS -> seen[blocks[id].place] = TORN
        :: true
        fi;
        id++
    :: else -> break
    od;
    p = 0;
    do
    :: p < SLOTS ->
        if
        :: seen[p] != disk[p] -> disk[p] = seen[p]
        :: seen[p] != disk[p] -> disk[p] = TORN
        :: true
        fi;
        seen[p] = disk[p];
        p++
    :: else -> break
    od;
    late = 0
}

/* What nobody looks at any more becomes 0, so that states which differ in it are one. */
inline forget_life()
{
    d_step {
        mine = 0; tip = 0; number = 0; chain = 0; durable = 0; accepted = 0; id = 1;
        do
        :: id <= last ->
            blocks[id].at = 0;
            blocks[id].ended = false;
            id++
        :: else -> break
        od;
        id = 0; p = 0
    }
}

inline forget_blocks()
{
    d_step {
        id = 1;
        do
        :: id <= last ->
            found = id == late;
            p = 0;
            do
            :: p < SLOTS ->
                found = found || seen[p] == id || disk[p] == id;
                p++
            :: else -> break
            od;
            p = 0;
            do
            :: p < written ->
                found = found || truth[p] == id;
                p++
            :: else -> break
            od;
            if
            :: !found ->
                blocks[id].term = 0;
                blocks[id].number = 0;
                blocks[id].place = 0;
                blocks[id].previous = 0;
                blocks[id].durable = 0
            :: else
            fi;
            id++
        :: else -> break
        od;
        p = written;
        do
        :: p < BLOCKS ->
            truth[p] = 0;
            p++
        :: else -> break
        od;
        id = 0; p = 0
    }
}

inline end_life()
{
    ends++;
    if
    :: kill()
    :: lose_power()
    fi;
    flight = last + 1;
    forget_life()
}

/* If something was accepted beyond the stated durable position, everything from there on reaches the medium. */
inline flush()
{
    d_step {
#ifndef SKIP_FLUSH
        p = durable;
        do
        :: p < SLOTS && durable < tip ->
            disk[p] = seen[p];
            p++
        :: else -> break
        od;
#endif
        p = 0;
        durable = tip
    }
}

/* From here on the engine serves from what it accepted, and what it cut is cut for good. */
inline begin_term()
{
    d_step {
        mine = terms + 1;
#ifndef SKIP_BEGINNING
        manifest[terms].place = tip;
        manifest[terms].number = number;
        manifest[terms].chain = chain;
        terms++;
#endif
        clean = false; clean_end = 0; clean_chain = 0;
        written = accepted;
        kept = accepted;
        accepted = 0
    }
}

inline late_lands()
{
    seen[blocks[late].place] = late;
    late = 0
}

/* Old blocks ahead are overwritten with zeros, from the tip on; a crash may come before all are. */
inline zero_ahead()
{
    p = tip;
    do
    :: p < SLOTS ->
        seen[p] = ZEROS;
        disk[p] = ZEROS;
        p++
    :: break
    od;
    forget_blocks()
}

inline submit(where)
{
    d_step {
        last++;
        blocks[last].term = mine;
        blocks[last].number = number;
        blocks[last].place = where;
        blocks[last].previous = chain;
        blocks[last].durable = durable;
        blocks[last].at = SLOTS;
        truth[written] = last;
        written++;
        tip = where + 1;
        number++;
        chain = last;
        if
        :: late != 0 && blocks[late].place == blocks[last].place -> late = 0
        :: else
        fi
    }
}

inline answer(upto)
{
    if
    :: upto > kept -> kept = upto
    :: else
    fi
}

/* Some block in flight, in id. */
inline choose_flight()
{
    id = flight;
    do
    :: id < last -> id++
    :: break
    od
}

inline land()
{
    if
    :: blocks[id].at = blocks[id].place
    :: fault == FAULT_NONE ->
        fault = FAULT_MISDIRECT;
        p = 0;
        do
        :: p < SLOTS - 1 -> p++
        :: break
        od;
        blocks[id].at = p;
        p = 0
    fi;
    seen[blocks[id].at] = id;
#ifdef ANSWER_BEFORE_DURABLE
    answer(blocks[id].number + 1);
#endif
}

inline end_write()
{
    d_step {
        blocks[id].ended = true;
        if
        :: seen[blocks[id].at] == id -> disk[blocks[id].at] = id
        :: else
        fi;
#ifdef ANSWER_OUT_OF_ORDER
        answer(blocks[id].number + 1);
#endif
        do
        :: flight <= last && blocks[flight].ended ->
            durable = blocks[flight].place + 1;
            answer(blocks[flight].number + 1);
            flight++
        :: else -> break
        od
    }
}

active proctype node()
{
life:
    atomic {
        rot_at_rest();
        recover();
        check_recovery()
    };
    if
    :: damage || ends == ENDS -> goto over
    :: else
    fi;
    if
    :: atomic { end_life() }; goto life
    :: true
    fi;
    flush();
    if
    :: atomic { end_life() }; goto life
    :: atomic { late != 0 -> late_lands() }
    :: true
    fi;
    begin_term();
    atomic { zero_ahead() };
    do
    :: atomic { last < BLOCKS && last + 1 - flight < FLIGHTS && tip < SLOTS && tip + 1 - durable <= WINDOW -> submit(tip) }
    :: atomic {
           last < BLOCKS && last + 1 - flight < FLIGHTS && tip % BLOCK_MAX != 0 && tip + 1 < SLOTS && tip + 2 - durable <= WINDOW ->
           submit(tip + 1)
       }
    :: atomic {
           flight <= last ->
           choose_flight();
           if
           :: blocks[id].at == SLOTS -> land()
           :: blocks[id].at != SLOTS && !blocks[id].ended -> end_write()
           :: else
           fi;
           id = 0
       }
    :: atomic { late != 0 -> late_lands() }
    :: atomic {
           flight > last ->
           clean = true;
           clean_end = tip;
           clean_chain = chain;
           ends++;
           forget_life();
           goto life
       }
    :: atomic { end_life() }; goto life
    od;
over:
    skip
}
