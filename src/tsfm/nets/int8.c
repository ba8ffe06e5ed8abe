/* Products of activations with int8 weights, for CPUs with AVX512-VNNI; int8.py calls them from several threads.

   Each row of an activation is quantised when it arrives, with a scale of its own; each column of a weight was
   quantised once. Their products are summed up in int32, which is exact. So a row's result is the same to the last bit
   whatever rows are beside it. Layers that belong together run in one call: what is between them stays in the
   second-level cache.

   No function of C's library but memcpy is used, so that the file runs with any. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum { COLUMNS = 64 }; /* of a panel: four registers of int32 */
enum { TILE = 6 };     /* rows of a tile: its 24 registers of sums leave room for a panel's four and a row's one */
enum { BLOCK = 48 };   /* rows whose hidden layer stays in the second-level cache */
enum { MOST = 480 };   /* rows that are quantised at once */
enum { ALIGN = 64 };   /* bytes */

enum activation { NONE, RELU, SILU, GELU, GELU_TANH };
enum kind { FLOATS, BFLOATS, ACTIVATED, GATED, ADDED }; /* what a product does with its results */

typedef int32_t __attribute__((aligned(1), may_alias)) four; /* bytes of a row */

/* A weight. Inputs are padded to a multiple of ALIGN, outputs to one of COLUMNS. */
typedef struct {
    int64_t inputs, padded, outputs, panels;
    const int8_t *weights; /* (panels, padded / 4, COLUMNS, 4) */
    const float *scales;   /* (panels * COLUMNS,) */
    const int32_t *start;  /* (panels * COLUMNS,): -128 times a column's sum, as rows are stored with 128 added */
    const float *bias;     /* (panels * COLUMNS,) */
} matrix;

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

static inline __m512 exponential(__m512 x) {
    const __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
    const __m512 whole = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 rest = _mm512_sub_ps(t, whole);
    __m512 sum = _mm512_set1_ps(1.33335581e-3f); /* the series of 2 to the rest, from -0.5 to 0.5 */
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(9.61812911e-3f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(5.55041087e-2f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(2.40226507e-1f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(6.93147181e-1f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(sum, whole);
}

/* x / (1 + exp(-z)) */
static inline __m512 sigmoid_times(__m512 x, __m512 z) {
    const __m512 bounded = _mm512_max_ps(_mm512_set1_ps(-80.0f), z);
    const __m512 below = _mm512_add_ps(_mm512_set1_ps(1.0f), exponential(_mm512_sub_ps(_mm512_setzero_ps(), bounded)));
    return _mm512_div_ps(x, below);
}

/* x * (1 + erf(x / sqrt(2))) / 2, by formula 7.1.26 of Abramowitz and Stegun, Handbook of Mathematical Functions */
static inline __m512 gelu(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f), half = _mm512_mul_ps(x, _mm512_set1_ps(0.5f));
    const __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.707106781f));
    const __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f), one));
    __m512 sum = _mm512_set1_ps(1.061405429f);
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(-1.453152027f));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(1.421413741f));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(-0.284496736f));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(0.254829592f));
    const __m512 negative = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(z, z));
    const __m512 power = exponential(_mm512_max_ps(_mm512_set1_ps(-80.0f), negative));
    const __m512 erf = _mm512_fnmadd_ps(_mm512_mul_ps(sum, t), power, one);
    return _mm512_fmadd_ps(_mm512_abs_ps(half), erf, half);
}

static inline __attribute__((always_inline)) __m512 activated(__m512 x, enum activation act) {
    if (act == RELU) return _mm512_max_ps(_mm512_setzero_ps(), x);
    if (act == SILU) return sigmoid_times(x, x);
    if (act == GELU) return gelu(x);
    if (act == GELU_TANH) { /* x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x^3)) */
        const __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
        const __m512 sum = _mm512_fmadd_ps(cube, _mm512_set1_ps(0.044715f), x);
        return sigmoid_times(x, _mm512_mul_ps(sum, _mm512_set1_ps(1.59576912f)));
    }
    return x;
}

/* A row as whole numbers from 1 to 255, where 128 is 0; returns their unit, which is no number if one of x is none. */
static float quantised(const float *x, int64_t n, uint8_t *out) {
    const __m512 zero = _mm512_setzero_ps();
    const __m128i middle = _mm_set1_epi8((char)0x80);
    __m512 most = zero, none = zero;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 there = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : 0xffff;
        const __m512 some = _mm512_maskz_loadu_ps(there, x + i);
        most = _mm512_max_ps(most, _mm512_abs_ps(some));
        none = _mm512_fmadd_ps(some, zero, none);
    }
    const float largest = _mm512_reduce_max_ps(most);
    const __m512 factor = _mm512_set1_ps(largest > 0 ? 127.0f / largest : 0.0f);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 there = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : 0xffff;
        const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(there, x + i), factor));
        _mm_mask_storeu_epi8(out + i, there, _mm_xor_si128(_mm512_cvtepi32_epi8(whole), middle));
    }
    return largest / 127.0f + _mm512_reduce_add_ps(none);
}

/* TILE rows times one panel. Rows that do not exist are computed like others, from what lies there. */
static void tile(const uint8_t *row, const matrix *m, int64_t panel, const float *units, __m512 results[TILE][4]) {
    const int64_t length = m->padded;
    const int8_t *w = m->weights + panel * COLUMNS * length;
    const int32_t *start = m->start + panel * COLUMNS;
    const uint8_t *low = row + 3 * length; /* for the last three rows, so that few registers hold addresses */
/* The sums are variables, and the product is written as an instruction: compilers keep an array of sums in memory. */
#define ROWS(DO)                                           \
    DO(0, row) DO(1, row + length) DO(2, row + 2 * length) \
    DO(3, low) DO(4, low + length) DO(5, low + 2 * length)
#define BEGIN(r, at)                                                                                     \
    __m512i s##r##0 = _mm512_loadu_si512(start), s##r##1 = _mm512_loadu_si512(start + 16);               \
    __m512i s##r##2 = _mm512_loadu_si512(start + 32), s##r##3 = _mm512_loadu_si512(start + 48);
#define ADD(sum, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
#define STEP(r, at)                                          \
    {                                                        \
        const __m512i x = _mm512_set1_epi32(*(const four *)(at)); \
        ADD(s##r##0, w0) ADD(s##r##1, w1) ADD(s##r##2, w2) ADD(s##r##3, w3) \
    }
    ROWS(BEGIN)
    for (int64_t k = 0; k < length; k += 4, row += 4, low += 4, w += 4 * COLUMNS) {
        const __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);
        const __m512i w2 = _mm512_loadu_si512(w + 128), w3 = _mm512_loadu_si512(w + 192);
        ROWS(STEP)
    }
    const float *scales = m->scales + panel * COLUMNS, *bias = m->bias + panel * COLUMNS;
#define SCALED(sum, r, c)                                                                                  \
    results[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum),                                               \
                                    _mm512_mul_ps(_mm512_loadu_ps(scales + 16 * c), _mm512_set1_ps(units[r])), \
                                    _mm512_loadu_ps(bias + 16 * c));
#define END(r, at) SCALED(s##r##0, r, 0) SCALED(s##r##1, r, 1) SCALED(s##r##2, r, 2) SCALED(s##r##3, r, 3)
    ROWS(END)
}

/* To bfloat16: to the nearest, ties to even. CPUs without bfloat16 have no instruction for it. */
static inline __m256i rounded(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
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

static inline __attribute__((always_inline)) void all_tiles(const uint8_t *a, const float *units, int64_t rows,
                                                            const matrix *m, int64_t from, int64_t to, const sink *s,
                                                            enum kind kind, enum activation act) {
    __m512 results[TILE][4];
    for (int64_t panel = from; panel < to; panel++)
        for (int64_t r = 0; r < rows; r += TILE) {
            tile(a + r * m->padded, m, panel, units + r, results);
            put(rows - r < TILE ? rows - r : TILE, r, panel, m, s, kind, act, results);
        }
}

/* Quantised rows times the panels from..to of a weight. Each kind is compiled on its own. */
static void multiply(const uint8_t *a, const float *units, int64_t rows, const matrix *m, int64_t from, int64_t to,
                     const sink *s) {
#define AS(KIND, ACT) if (s->kind == KIND && s->act == ACT) all_tiles(a, units, rows, m, from, to, s, KIND, ACT);
#define HIDDEN(ACT) AS(ACTIVATED, ACT) AS(GATED, ACT)
    AS(FLOATS, NONE) AS(BFLOATS, NONE) AS(ADDED, NONE) HIDDEN(RELU) HIDDEN(SILU) HIDDEN(GELU) HIDDEN(GELU_TANH)
}

/* out (rows, outputs) = x (rows, inputs) times the panels from..to. */
void tsfm_product(const float *x, int64_t rows, const matrix *m, int64_t from, int64_t to, void *out, int64_t bfloats,
                  uint8_t *room) {
    float *units = take(&room, 4 * (MOST + TILE));
    for (int64_t at = 0; at < rows; at += MOST) {
        const int64_t n = rows - at < MOST ? rows - at : MOST;
        for (int64_t r = 0; r < n; r++) units[r] = quantised(x + (at + r) * m->inputs, m->inputs, room + r * m->padded);
        const sink s = {bfloats ? BFLOATS : FLOATS, NONE, (char *)out + at * m->outputs * (bfloats ? 2 : 4),
                        m->outputs, NULL, NULL};
        multiply(room, units, n, m, from, to, &s);
    }
}

/* out += factor * down(act(up(row))) for the listed rows of a, or for all n. */
static void feed(const uint8_t *a, const float *units, const int64_t *rows, const float *factors, int64_t n,
                 const matrix *up, const matrix *down, enum activation act, int gated, float *out, uint8_t *room) {
    float *hidden = take(&room, 4 * BLOCK * down->inputs);
    uint8_t *middle = take(&room, (BLOCK + TILE) * down->padded), *gathered = take(&room, (BLOCK + TILE) * up->padded);
    float of_rows[BLOCK + TILE], of_middle[BLOCK + TILE];
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t count = n - at < BLOCK ? n - at : BLOCK;
        const uint8_t *into = a + at * up->padded;
        const float *scales = units + at;
        if (rows) {
            for (int64_t r = 0; r < count; r++) {
                memcpy(gathered + r * up->padded, a + rows[at + r] * up->padded, (size_t)up->padded);
                of_rows[r] = units[rows[at + r]];
            }
            into = gathered, scales = of_rows;
        }
        const sink inner = {gated ? GATED : ACTIVATED, act, hidden, down->inputs, NULL, NULL};
        multiply(into, scales, count, up, 0, up->panels, &inner);
        for (int64_t r = 0; r < count; r++)
            of_middle[r] = quantised(hidden + r * down->inputs, down->inputs, middle + r * down->padded);
        const sink outer = {ADDED, NONE, rows ? out : out + at * down->outputs, down->outputs, rows ? rows + at : NULL,
                            factors ? factors + at : NULL};
        multiply(middle, of_middle, count, down, 0, down->panels, &outer);
    }
}

/* A feed-forward whose hidden layer is cut into groups: out (rows, outputs) += their sum, in order. */
void tsfm_feed(const float *x, int64_t rows, const matrix *up, const matrix *down, int64_t groups, int64_t act,
               int64_t gated, float *out, uint8_t *room) {
    float units[BLOCK + TILE];
    uint8_t *a = take(&room, (BLOCK + TILE) * up->padded);
    for (int64_t at = 0; at < rows; at += BLOCK) {
        const int64_t n = rows - at < BLOCK ? rows - at : BLOCK;
        for (int64_t r = 0; r < n; r++) units[r] = quantised(x + (at + r) * up->inputs, up->inputs, a + r * up->padded);
        for (int64_t g = 0; g < groups; g++)
            feed(a, units, NULL, NULL, n, up + g, down + g, (enum activation)act, gated != 0,
                 out + at * down->outputs, room);
    }
}

/* A mixture of gated feed-forwards: out (rows, outputs) += the sum of each row's chosen experts by their chances
   (rows, best), in the experts' order; then the one after them by the factors shared (rows,), unless that is NULL. */
void tsfm_mixture(const float *x, int64_t rows, const matrix *up, const matrix *down, int64_t experts,
                  const int64_t *chosen, const float *chances, int64_t best, const float *shared, int64_t act,
                  float *out, uint8_t *room) {
    float *units = take(&room, 4 * (rows + TILE)), *factors = take(&room, 4 * rows * best);
    int64_t *order = take(&room, 8 * rows * best);
    uint8_t *a = take(&room, (rows + TILE) * up->padded);
    for (int64_t r = 0; r < rows; r++) units[r] = quantised(x + r * up->inputs, up->inputs, a + r * up->padded);
    for (int64_t e = 0; e < experts; e++) {
        int64_t n = 0;
        for (int64_t i = 0; i < rows * best; i++)
            if (chosen[i] == e) order[n] = i / best, factors[n++] = chances[i];
        feed(a, units, order, factors, n, up + e, down + e, (enum activation)act, 1, out, room);
    }
    if (shared) feed(a, units, NULL, shared, rows, up + experts, down + experts, (enum activation)act, 1, out, room);
}
