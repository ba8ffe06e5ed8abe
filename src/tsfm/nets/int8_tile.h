/* A few quantised rows times some columns of a weight: what stays in a thread's registers. */
#pragma once
#include "int8_numbers.h"

enum { COLUMNS = 64 }; /* of a panel: four registers of int32 */
enum { TILE = 6 };     /* rows of a tile: its 24 registers of sums leave room for a panel's four and a row's one */
enum { ALIGN = 64 };   /* bytes */

/* A weight. Inputs are padded to a multiple of ALIGN, outputs to one of COLUMNS. */
typedef struct {
    int64_t inputs, padded, outputs, panels;
    const int8_t *weights; /* (panels, padded / 4, COLUMNS, 4) */
    const float *scales;   /* (panels * COLUMNS,) */
    const int32_t *start;  /* (panels * COLUMNS,): -128 times a column's sum, as rows are stored with 128 added */
    const float *bias;     /* (panels * COLUMNS,) */
} matrix;

typedef int32_t __attribute__((aligned(1), may_alias)) four; /* bytes of a row */

/* TILE rows times one panel. Rows that do not exist are computed like others, from what lies there. Meanwhile a part
   of what is ahead comes from memory. */
static void tile(const uint8_t *row, const matrix *m, int64_t panel, const float *units, const int8_t *ahead,
                 __m512 results[TILE][4]) {
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
    for (int64_t k = 0; k < length; k += 4, row += 4, low += 4, w += 4 * COLUMNS, ahead += 2 * ALIGN) {
        _mm_prefetch(ahead, _MM_HINT_T1), _mm_prefetch(ahead + ALIGN, _MM_HINT_T1);
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
