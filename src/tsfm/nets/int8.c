/* Layers with int8 weights, for CPUs with AVX512-VNNI: a product, a feed-forward, a mixture; int8.py calls them.

   Each row of an activation is quantised when it arrives, with a scale of its own; each column of a weight was
   quantised once. Their products are summed up in int32, which is exact. So a row's result is the same to the last bit
   whatever rows are beside it, and on any number of threads. Layers that belong together run in one call: what is
   between them stays in the caches.

   The threads are torch's own, so that a call wakes none that sleep: torch's OpenMP runs a function on them. With few
   rows they share the columns of each weight, which then is read once; with many each has rows of its own.

   No function of C's library but memcpy is used, so that the file runs with any. */
#include "int8_numbers.h"
#include "int8_tile.h"

#include <string.h>

enum { BLOCK = 48 };   /* rows whose hidden layer stays in a thread's second-level cache */
enum { FEW = 96 };     /* rows; with fewer, threads share the columns of a feed-forward and not its rows */
enum { MOST = 480 };   /* rows that are quantised at once */

enum layer { PRODUCT, FEED, MIXTURE };
enum kind { FLOATS, BFLOATS, ACTIVATED, GATED, ADDED }; /* what a product does with its results */

/* What int8.py asks for; a layer ignores what it does not need. */
typedef struct {
    int64_t layer, act, gated, bfloats, adds, rows, groups, experts, best, threads;
    int64_t space;                 /* bytes of a part's room */
    const float *x, *norm;         /* (rows, inputs), may be out as well; (inputs,), no norm: NULL */
    const matrix *up, *down;       /* of each expert, `down` of each group */
    const int64_t *chosen;         /* (rows, best): experts */
    const float *chances, *shared; /* factors of these (rows, best), and of the last expert (rows,) or NULL */
    void *out;                     /* (rows, outputs); adds: is added to */
    uint8_t *room;
    float epsilon; /* of the norm */
} job;

typedef struct {
    int64_t rank, size;
} team; /* of threads that do the same work together */

static void (*on_threads)(void (*)(void *), void *, unsigned, unsigned), (*all_here)(void);
static int (*number)(void), (*count)(void);

/* Where the part of n things begins that a thread of a team does; it ends where that of the next thread begins. */
static inline int64_t part(team t, int64_t after, int64_t n) { return n * (t.rank + after) / t.size; }

static inline void meet(team t) {
    if (t.size > 1) all_here();
}

/* Where a product's results go: to row `first` of out, or for ADDED to the listed rows. */
typedef struct {
    enum kind kind;
    enum activation act;
    void *out;
    int64_t stride;       /* of out, in numbers */
    const int64_t *rows;  /* for ADDED; NULL: in order */
    const float *factors; /* for ADDED, of each row; NULL: 1 */
} sink;

static inline void *take(uint8_t **room, int64_t bytes) {
    uint8_t *taken = *room;
    *room += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return taken;
}

static inline __attribute__((always_inline)) void put(int64_t rows, int64_t first, int64_t panel, const matrix *m,
                                                      const sink *s, enum kind kind, enum activation act,
                                                      __m512 results[TILE][4]) {
    for (int64_t r = 0; r < rows; r++) {
        const int64_t row = kind == ADDED && s->rows ? s->rows[first + r] : first + r;
        for (int64_t c = 0; c < (kind == GATED ? 2 : 4); c++) {
            const int64_t column = panel * (kind == GATED ? COLUMNS / 2 : COLUMNS) + 16 * c;
            const int64_t left = (kind == GATED ? m->outputs / 2 : m->outputs) - column, at = row * s->stride + column;
            const __mmask16 there = left >= 16 ? 0xffff : left > 0 ? (__mmask16)((1u << left) - 1) : 0;
            __m512 result = activated(results[r][c], act);
            if (kind == GATED) result = _mm512_mul_ps(result, results[r][c + 2]);
            if (kind == ADDED) {
                if (s->factors) result = _mm512_mul_ps(result, _mm512_set1_ps(s->factors[first + r]));
                result = _mm512_add_ps(_mm512_maskz_loadu_ps(there, (float *)s->out + at), result);
            }
            if (kind == BFLOATS) _mm256_mask_storeu_epi16((uint16_t *)s->out + at, there, rounded(result));
            else _mm512_mask_storeu_ps((float *)s->out + at, there, result);
        }
    }
}

static inline __attribute__((always_inline)) void all_tiles(team t, const uint8_t *a, const float *units, int64_t rows,
                                                            const matrix *m, const sink *s, enum kind kind,
                                                            enum activation act) {
    __m512 results[TILE][4];
    const int64_t tiles = (rows + TILE - 1) / TILE, size = COLUMNS * m->padded;
    const int64_t chunks = rows < 2 * BLOCK ? 1 : rows / BLOCK, last = part(t, 1, m->panels * chunks) - 1;
    for (int64_t at = part(t, 0, m->panels * chunks); at <= last; at++) {
        const int64_t panel = at / chunks;
        const team own = {at % chunks, chunks};
        for (int64_t first = part(own, 0, tiles), i = first; i < part(own, 1, tiles); i++) {
            const int64_t r = i * TILE, next = i - first < 2 && panel < last / chunks; /* two tiles fetch a panel */
            const int8_t *ahead = m->weights + (panel + next) * size + next * (i - first) * size / 2;
            tile(a + r * m->padded, m, panel, units + r, ahead, results);
            put(rows - r < TILE ? rows - r : TILE, r, panel, m, s, kind, act, results);
        }
    }
}

/* Quantised rows times a weight. Each kind is compiled on its own. */
static void multiply(team t, const uint8_t *a, const float *units, int64_t rows, const matrix *m, const sink *s) {
#define AS(KIND, ACT) if (s->kind == KIND && s->act == ACT) all_tiles(t, a, units, rows, m, s, KIND, ACT);
#define HIDDEN(ACT) AS(ACTIVATED, ACT) AS(GATED, ACT)
    AS(FLOATS, NONE) AS(BFLOATS, NONE) AS(ADDED, NONE) HIDDEN(RELU) HIDDEN(SILU) HIDDEN(GELU) HIDDEN(GELU_TANH)
}

/* This thread's part of `rows` of the inputs of a job. */
static void quantise(team t, const job *j, int64_t from, int64_t rows, float *units, uint8_t *out) {
    const int64_t n = j->up->inputs;
    for (int64_t r = part(t, 0, rows); r < part(t, 1, rows); r++)
        units[r] = quantised(j->x + (from + r) * n, n, j->norm, j->epsilon, out + r * j->up->padded);
}

/* out = x times up. */
static void product(team t, const job *j) {
    const int64_t bytes = j->up->outputs * (j->bfloats ? 2 : 4);
    uint8_t *room = j->room;
    float *units = take(&room, 4 * (MOST + TILE));
    for (int64_t at = 0; at < j->rows; at += MOST) {
        const int64_t n = j->rows - at < MOST ? j->rows - at : MOST;
        if (at) meet(t);
        quantise(t, j, at, n, units, room);
        meet(t);
        const enum kind kind = j->adds ? ADDED : j->bfloats ? BFLOATS : FLOATS;
        const sink s = {kind, NONE, (char *)j->out + at * bytes, j->up->outputs, NULL, NULL};
        multiply(t, room, units, n, j->up, &s);
    }
}

/* out = down(act(up(row))) of n rows of a, where groups of the hidden layer have scales and a `down` of their own; with
   factors these times it are added to out, with `rows` for the listed rows of a and to the same rows of out. */
static void feed(team t, const uint8_t *a, const float *units, const int64_t *rows, const float *factors, int64_t n,
                 const matrix *up, const matrix *down, const job *j, float *out, uint8_t *room) {
    const int64_t block = t.size > 1 ? FEW : BLOCK, width = j->gated ? up->outputs / 2 : up->outputs;
    const int64_t size = (block + TILE) * down->padded; /* of a group's rows */
    float *hidden = take(&room, 4 * block * width), *of_middle = take(&room, 4 * j->groups * (FEW + TILE));
    uint8_t *middle = take(&room, j->groups * size), *gathered = take(&room, (BLOCK + TILE) * up->padded);
    float of_rows[BLOCK + TILE];
    for (int64_t at = 0; at < n; at += block) {
        const int64_t some = n - at < block ? n - at : block;
        const uint8_t *into = a + at * up->padded;
        const float *scales = units + at;
        if (rows) { /* a team of one thread */
            for (int64_t r = 0; r < some; r++) {
                memcpy(gathered + r * up->padded, a + rows[at + r] * up->padded, (size_t)up->padded);
                of_rows[r] = units[rows[at + r]];
            }
            into = gathered, scales = of_rows;
        }
        const sink inner = {j->gated ? GATED : ACTIVATED, (enum activation)j->act, hidden, width, NULL, NULL};
        multiply(t, into, scales, some, up, &inner);
        meet(t);
        for (int64_t g = 0; g < j->groups; g++)
            for (int64_t r = part(t, 0, some); r < part(t, 1, some); r++)
                of_middle[g * (FEW + TILE) + r] = quantised(hidden + r * width + g * down->inputs, down[g].inputs, NULL, 0,
                                                            middle + g * size + r * down[g].padded);
        meet(t);
        for (int64_t g = 0; g < j->groups; g++) {
            const sink outer = {j->adds || g ? ADDED : FLOATS, NONE, rows ? out : out + at * down->outputs,
                                down->outputs, rows ? rows + at : NULL, factors ? factors + at : NULL};
            multiply(t, middle + g * size, of_middle + g * (FEW + TILE), some, down + g, &outer);
        }
    }
}

/* out = down(act(up(x))) of the rows from..to. */
static void feed_forward(team t, const job *j, int64_t from, int64_t to, uint8_t *room) {
    float *units = take(&room, 4 * (FEW + TILE));
    uint8_t *a = take(&room, (FEW + TILE) * j->up->padded);
    for (int64_t at = from; at < to; at += FEW) {
        const int64_t n = to - at < FEW ? to - at : FEW;
        quantise(t, j, at, n, units, a);
        meet(t);
        feed(t, a, units, NULL, NULL, n, j->up, j->down, j, (float *)j->out + at * j->down->outputs, room);
    }
}

/* out += the sum of each row's chosen experts by their chances, in the experts' order; then the one that all share.
   Of the rows from..to. */
static void mixture(const job *j, int64_t from, int64_t to, uint8_t *room) {
    const team alone = {0, 1};
    const matrix *up = j->up, *down = j->down;
    const int64_t rows = to - from, best = j->best, *chosen = j->chosen + from * best;
    float *units = take(&room, 4 * (rows + TILE)), *factors = take(&room, 4 * rows * best);
    float *out = (float *)j->out + from * down->outputs;
    int64_t *order = take(&room, 8 * rows * best);
    uint8_t *a = take(&room, (rows + TILE) * up->padded);
    quantise(alone, j, from, rows, units, a);
    for (int64_t e = 0; e < j->experts; e++) {
        int64_t n = 0;
        for (int64_t i = 0; i < rows * best; i++)
            if (chosen[i] == e) order[n] = i / best, factors[n++] = j->chances[from * best + i];
        feed(alone, a, units, order, factors, n, up + e, down + e, j, out, room);
    }
    if (j->shared)
        feed(alone, a, units, NULL, j->shared + from, rows, up + j->experts, down + j->experts, j, out, room);
}

static void work(team t, const job *j) {
    if (j->layer == PRODUCT) product(t, j);
    else if (j->layer == FEED && j->rows < FEW) feed_forward(t, j, 0, j->rows, j->room);
    else { /* each thread has rows of its own; there may be fewer than were asked for */
        const int64_t tiles = (j->rows + TILE - 1) / TILE;
        for (team own = {t.rank, j->threads}; own.rank < own.size; own.rank += t.size) {
            const int64_t from = part(own, 0, tiles) * TILE, end = part(own, 1, tiles) * TILE;
            const int64_t to = end < j->rows ? end : j->rows;
            uint8_t *room = j->room + own.rank * j->space;
            if (j->layer == FEED) feed_forward((team){0, 1}, j, from, to, room);
            else mixture(j, from, to, room);
        }
    }
}

static void on_thread(void *j) { work((team){number(), count()}, j); }

void tsfm_run(const job *j) {
    if (j->threads > 1) on_threads(on_thread, (void *)j, (unsigned)j->threads, 0);
    else work((team){0, 1}, j);
}

/* GOMP_parallel, GOMP_barrier, omp_get_thread_num and omp_get_num_threads of the library that torch uses. */
void tsfm_threads(void *run, void *wait, void *rank, void *size) {
    on_threads = (void (*)(void (*)(void *), void *, unsigned, unsigned))run, all_here = (void (*)(void))wait;
    number = (int (*)(void))rank, count = (int (*)(void))size;
}
