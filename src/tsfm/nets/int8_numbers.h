/* What int8.c does to 16 numbers at once: activations, and float32 to whole numbers and to bfloat16. */
#pragma once
#include <immintrin.h>
#include <stdint.h>

enum activation { NONE, RELU, SILU, GELU, GELU_TANH };

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

/* A row as whole numbers from 1 to 255, where 128 is 0; returns their unit, which is no number if one of x is none.
   With `norm` the row is first divided by its root mean square and multiplied by these weights. */
static float quantised(const float *x, int64_t n, const float *norm, float epsilon, uint8_t *out) {
    const __m512 zero = _mm512_setzero_ps();
    const __m128i middle = _mm_set1_epi8((char)0x80);
    __m512 most = zero, none = zero, squares = zero;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 there = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : 0xffff;
        __m512 some = _mm512_maskz_loadu_ps(there, x + i);
        squares = _mm512_fmadd_ps(some, some, squares);
        if (norm) some = _mm512_mul_ps(some, _mm512_maskz_loadu_ps(there, norm + i));
        most = _mm512_max_ps(most, _mm512_abs_ps(some));
        none = _mm512_fmadd_ps(some, zero, none);
    }
    const float largest = _mm512_reduce_max_ps(most);
    const __m512 factor = _mm512_set1_ps(largest > 0 ? 127.0f / largest : 0.0f);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 there = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : 0xffff;
        __m512 some = _mm512_mul_ps(_mm512_maskz_loadu_ps(there, x + i), factor);
        if (norm) some = _mm512_mul_ps(some, _mm512_maskz_loadu_ps(there, norm + i));
        const __m512i whole = _mm512_cvtps_epi32(some);
        _mm_mask_storeu_epi8(out + i, there, _mm_xor_si128(_mm512_cvtepi32_epi8(whole), middle));
    }
    const __m128 mean = _mm_set_ss(_mm512_reduce_add_ps(squares) / (float)n + epsilon);
    const float size = norm ? _mm_cvtss_f32(_mm_sqrt_ss(mean)) : 1.0f;
    return largest / 127.0f / size + _mm512_reduce_add_ps(none);
}

/* To bfloat16: to the nearest, ties to even. CPUs without bfloat16 have no instruction for it. */
static inline __m256i rounded(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}
