// One LSTM layer in one direction, forward and backward, for K models at once.
//
// A unit of work is a model and some rows of its batch: it goes through all of time without meeting another
// thread. Inside it, a tile of R rows x 4 gates x N hidden units is multiplied in registers, and the gates of a
// unit become its next cell state and output there, before anything is stored. docs/recurrence.md draws tiles, panels
// and lines.
//
// Plain C++ with the vector extensions of GCC and Clang; ../fused_cpu.py compiles it and describes the arguments.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define HAS_SHORT  // the processor multiplies bfloat16
#include <immintrin.h>
#endif
#if defined(HAS_SHORT) && defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__linux__)
#define HAS_TILES  // and whole tiles of them, if the kernel gives leave
#include <sys/syscall.h>
#include <unistd.h>
#endif

using Index = std::int64_t;
using Real = REAL;  // float or double, from the command line
using Short = std::uint16_t;  // a bfloat16

extern "C" {

// What the two functions below are given; ../fused_cpu.py mirrors it field by field, in this order, and compares its
// size when it loads this library.
//
// Tensors are of type Real. Where nothing else is said they are contiguous, models first, so that model k begins at
// k times the size of what is given here for one. "null" says when a pointer may be; all others point to memory.
struct Problem {
  Index models, steps, batch, features, hidden;  // K, T, B, D, H, each at least 1
  Index reverse;                                 // 1: from the last step to the first; all keeps its place in time
  Index threads;                                 // at most so many
  Index short_products;                          // 1: what is multiplied is rounded to bfloat16 (lstmreg_short)
  Index input_groups, recurrent_groups;          // G of the masks: 0 none, 1 tied over the gates, 4 one for each
  Index x_model, x_step, x_row;                  // strides of x in elements; x_model is 0 where the models share it
  Index valid_model;                             // stride of valid in elements: T * B, or 0 where the models share it
  Index dy_model, dy_step, dy_row;               // strides of dy in elements

  // Read by both passes.
  const void *x;               // (K, T, B, D) by its strides; the D of a row lie side by side
  const void *h_0, *c_0;       // (B, H)
  const void *w_ih;            // (4, H, D); gates are in the order i, f, g, o everywhere
  const void *w_hh;            // (4, H, H)
  const void *bias;            // (4, H); null: none
  const void *input_mask;      // (G, B, D); null where input_groups is 0
  const void *recurrent_mask;  // (G, B, H); null where recurrent_groups is 0
  const std::uint8_t *valid;   // (T, B), 0 or 1; null: every step is valid

  // Written by the forward pass.
  void *y;           // (T, B, H), of Shorts where lstmreg_short_results says so; the backward pass reads it
  void *h_n, *c_n;   // (B, H); null in the backward pass
  void *gates;       // (T, 4, B, Hp) after their activations, where Hp is H in whole vectors (lstmreg_width); both are
  void *cells;       // (T, B, Hp)    null in a forward pass that keeps nothing, and read by the backward pass
  void *cost;        // (), what the elastic nets below cost together; null: not wanted
  void *costs;       // (4), each of them; null where cost is

  // Read by the backward pass: gradients of its results.
  const void *dy;              // (K, T, B, H) by its strides, the H of a row side by side, in y's type; null: zero
  const void *dh_n, *dc_n;     // (B, H); null: zero

  // Written by the backward pass: gradients of what it was given.
  void *dx;                    // (K, T, B, D), contiguous, of each model even where they share x; null: not wanted
  void *dh_0, *dc_0;           // (B, H); null: not wanted
  void *dw_ih, *dw_hh;         // as the weights
  void *dbias;                 // (4, H); null where there is no bias

  // Read by both passes: elastic nets on the weights and the output. By what the sums of |w| and of w * w enter their
  // costs, for the forward pass; by what sign(w) and w enter the gradient of each w, for the backward pass, which adds
  // them to its own, and those of the output to dy. All zero: there are none.
  double of_w_ih[2], of_w_hh[2], of_bias[2], of_y[2];

  void *scratch;  // as many bytes as the pass says that it needs; null: it computes nothing and says how many
  void (*parallel)(void (*work)(void *), void *data, unsigned threads, unsigned flags);  // GOMP_parallel, or null
};

// What a step of training is given, of K networks that read a layer's last output; ../lesson.py mirrors it likewise.
struct Lesson {
  Problem layer;             // of which it reads the sizes, short_products, x, the masks, scratch and parallel; states
                             // begin at zero
  Index outputs, y_model;    // O; from model to model of the targets, or 0 where the models share them
  Index weights_model;       // from model to model of the weights and of their gradients, which are rows of P numbers
  const void *weights;       // (4, H, D), (4, H, H), (4, H), (O, H), (O): of the layer, its bias, and the head's
  const void *targets;       // (B, O)
  const Index *criteria;     // (K): 0 squares, 1 absolute values, 2 Huber's, 3 cross entropy, of which the targets are
                             // what the loss has of each class; and 4 where a NaN is no target
  const void *l1, *l2;       // (K): what each number of the last output costs; null: nothing
  void *gradient;            // as the weights; written. null: the networks are judged, and learn nothing
  void *predictions;         // (B, O); written, as are the next two
  void *losses, *activity;   // (K)
};

}  // extern "C"

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kRows = 6;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32, kRows = 3;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16, kRows = 6;
#else
constexpr int kVectorBytes = 16, kRows = 3;
#endif

constexpr Index kBatch = 64;      // rows that go through time together, at most
constexpr Index kAheadRows = 24;  // rows (steps x sequences) whose inputs are multiplied together, where they are few
constexpr Index kChunkRows = 256; // rows (steps x sequences) whose weight gradients are formed together, about
constexpr Index kColumnSteps = 32;   // steps of a single feature that are masked together, at most
constexpr Index kMaskedRows = 1024;  // the same where they are masked afterwards, which costs the less the more steps

constexpr Index divide_up(Index n, Index d) { return (n + d - 1) / d; }
constexpr Index round_up(Index n, Index d) { return divide_up(n, d) * d; }

// ------------------------------------------------------------------ vectors

template <class T, int N> struct Lanes {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
  typedef T anywhere __attribute__((vector_size(N * sizeof(T)), aligned(alignof(T))));
};
template <class T, int N> using Vector = typename Lanes<T, N>::type;

// Not memcpy: a compiler must take that for a change of anything, strides and sizes too, and read them again.
template <class V, class T> inline V load(const T *from) {
  return *reinterpret_cast<const typename Lanes<T, sizeof(V) / sizeof(T)>::anywhere *>(from);
}

// Not inlined, so that the vector of the usual case need not lie in memory.
template <class V, class T> [[gnu::noinline]] V load_part(const T *from, const T *end) {
  V v = {};
  if (from < end) std::memcpy(&v, from, (end - from) * sizeof(T));
  return v;
}

// Up to `end`, beyond which nothing may be read; the lanes after it are zero.
template <class V, class T> inline V load_until(const T *from, const T *end) {
  constexpr Index lanes = sizeof(V) / sizeof(T);
  return end - from >= lanes ? load<V>(from) : load_part<V>(from, end);
}

template <class T, class V> inline void store(T *to, V v) {
  *reinterpret_cast<typename Lanes<T, sizeof(V) / sizeof(T)>::anywhere *>(to) = v;
}

// Up to `end`: what lies after it belongs to another row, and perhaps to another thread.
template <class T, class V> inline void store_until(T *to, const T *end, V v) {
  constexpr Index lanes = sizeof(V) / sizeof(T);
  if (end - to >= lanes) store(to, v);
  else std::memcpy(to, &v, (end - to) * sizeof(T));
}

// e^y - 1 = scale * rest + (scale - 1), exactly enough near zero for tanh. NaN stays NaN.
template <class V> struct Exponential {
  V scale, rest;
};

template <class T, int N>
using BitsOf = Vector<std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>, N>;

// Of y <= 88 (709 in double precision).
template <class T, int N> inline Exponential<Vector<T, N>> exponential(Vector<T, N> y) {
  using V = Vector<T, N>;
  constexpr bool single = std::is_same_v<T, float>;
  using Bits = BitsOf<T, N>;
  constexpr T lowest = single ? T(-87) : T(-708);
  constexpr T log2e = T(1.4426950408889634074L), ln2 = T(0.69314718055994530942L);
  // Adding 1.5 * 2^(mantissa bits) rounds to whole numbers; the exponent of one beside it makes the last bits of
  // the sum the exponent of 2^n.
  constexpr int mantissa = single ? 23 : 52, one = single ? 127 : 1023;
  constexpr T shift = T(1.5L * (1LL << mantissa) + one);

  y = y < lowest ? V{} + lowest : y;
  const V shifted = y * log2e + shift;
  const V r = y - (shifted - shift) * ln2;
  Bits bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits <<= mantissa;
  Exponential<V> e;
  std::memcpy(&e.scale, &bits, sizeof bits);
  // Taylor's series: |r| <= ln(2) / 2, and the first term left out is below the type's last digit.
  V sum;
  if constexpr (single) {
    sum = r * T(1.0L / 5040) + T(1.0L / 720);
  } else {
    sum = r * T(1.0L / 6227020800) + T(1.0L / 479001600);
    sum = sum * r + T(1.0L / 39916800);
    sum = sum * r + T(1.0L / 3628800);
    sum = sum * r + T(1.0L / 362880);
    sum = sum * r + T(1.0L / 40320);
    sum = sum * r + T(1.0L / 5040);
    sum = sum * r + T(1.0L / 720);
  }
  sum = sum * r + T(1.0L / 120);
  sum = sum * r + T(1.0L / 24);
  sum = sum * r + T(1.0L / 6);
  sum = sum * r + T(0.5L);
  e.rest = sum * (r * r) + r;
  return e;
}

// a / b, where b is no less than 1. Beside Shorts the last digits need not be right, and a division is slow.
template <bool Quick, class V> inline V divide(V a, V b) {
#ifdef HAS_SHORT
  if constexpr (Quick && std::is_same_v<V, Vector<float, 16>>) {
    const V guess = _mm512_maskz_rcp14_ps(0xffff, b);
    return a * (guess * (2.0f - b * guess));
  }
#endif
  return a / b;
}

template <class T, int N, bool Quick = false> inline Vector<T, N> sigmoid(Vector<T, N> x) {
  constexpr T lowest = sizeof(T) == 4 ? T(-88) : T(-709);
  const auto e = exponential<T, N>(-(x < lowest ? Vector<T, N>{} + lowest : x));
  return divide<Quick>(Vector<T, N>{} + T(1), (e.scale * e.rest + e.scale) + T(1));
}

template <class T, int N, bool Quick = false> inline Vector<T, N> tanh(Vector<T, N> x) {
  using V = Vector<T, N>;
  using Bits = BitsOf<T, N>;
  const Bits sign = ~(~Bits{} >> 1), x_sign = reinterpret_cast<Bits>(x) & sign;
  const V y = reinterpret_cast<V>(reinterpret_cast<Bits>(x) | sign);  // -|x|
  const auto e = exponential<T, N>(y + y);
  const V e_minus_1 = e.scale * e.rest + (e.scale - T(1));
  const V t = divide<Quick>(e_minus_1, e_minus_1 + T(2));
  return reinterpret_cast<V>((reinterpret_cast<Bits>(t) & ~sign) | x_sign);
}

// ------------------------------------------------------------------ tiles

// For each k < count: 4 vectors of weights, and of each row a value for each of them.
template <class T> struct Factor {
  const T *weights, *values;
  Index row, vector, count;               // strides of the values; vector is 0 where one value serves all four
  Index next_value = 1;                   // from k to k + 1
  Index next_weights = 0, next_gate = 0;  // from k to k + 1 and from vector to vector; 0 where they lie side by side
};

// What the sums of a product start from: four vectors for each panel and row, or zero.
template <class T> struct Start {
  const T *from = nullptr;
  Index panel = 0, row = 0;  // strides
};

// Where the sums of a product go.
template <class T> struct Place {
  T *to;
  Index row, vector;  // strides
};

// z[r][v] = start[r][v] + sum over k of weights[k][v] * values[r, v][k]: the one product of both passes.
template <class T, int N, int R, bool Shared>
[[gnu::noinline]] void multiply(Place<T> z, Start<T> start, std::initializer_list<Factor<T>> factors) {
  using V = Vector<T, N>;
  V acc[R][4];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) acc[r][v] = start.from ? load<V>(start.from + r * start.row + v * N) : V{};
  for (const Factor<T> &f : factors) {
    const T *weights = f.weights;
    const T *values[4] = {f.values, f.values + f.vector, f.values + 2 * f.vector, f.values + 3 * f.vector};
    const Index next_weights = f.next_weights ? f.next_weights : 4 * N, way = f.next_gate ? f.next_gate : N;
    for (Index k = 0; k < f.count; ++k, weights += next_weights) {
      const V w[4] = {load<V>(weights), load<V>(weights + way), load<V>(weights + 2 * way), load<V>(weights + 3 * way)};
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) acc[r][v] += w[v] * values[Shared ? 0 : v][r * f.row];
#pragma GCC unroll 4
      for (const T *&value : values) value += f.next_value;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) store(z.to + r * z.row + v * z.vector, acc[r][v]);
}

// z[r][v] += sum over b < batch of masks[b][r][v] * sum over k of weights[k][b][v] * values[k][b][r]: what is masked alike
// at every k is masked once. Of b, weights and values lie `next_b_weights` and `next_b_values` further; `masks_row` masks
// belong to one b, four for each of its values.
template <class T, int N, int R>
[[gnu::noinline]] void multiply_then_mask(Place<T> z, Factor<T> f, Index next_b_weights, Index next_b_values, Index batch,
                                          const T *masks, Index masks_row) {
  using V = Vector<T, N>;
  for (Index b = 0; b < batch; ++b, f.weights += next_b_weights, f.values += next_b_values, masks += masks_row) {
    V acc[R][4] = {};
    const T *weights = f.weights, *values = f.values;
    for (Index k = 0; k < f.count; ++k, weights += f.next_weights, values += f.next_value) {
      const V w[4] = {load<V>(weights), load<V>(weights + f.next_gate), load<V>(weights + 2 * f.next_gate),
                      load<V>(weights + 3 * f.next_gate)};
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) acc[r][v] += w[v] * values[r];
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        T *to = z.to + r * z.row + v * z.vector;
        store(to, load<V>(to) + acc[r][v] * masks[4 * r + v]);
      }
  }
}

// Calls f(std::integral_constant<int, n>) for an n that is known only when running, 1 <= n <= Most.
template <int Most, class F> inline void with_constant(Index n, F &&f) {
  if constexpr (Most > 1) {
    if (n < Most) return with_constant<Most - 1>(n, f);
  }
  f(std::integral_constant<int, Most>{});
}

// What is multiplied, M, is of the type that is computed with, T, or Short. Then it is multiplied in pairs: weights lie
// as pairs of inputs, for each of them 4 vectors of N pairs; counts are multiples of kDeep, with zeros at the end.
template <class M> constexpr bool is_short = std::is_same_v<M, Short>;
template <class M> constexpr Index kDeep = is_short<M> ? 32 : 1;
constexpr Index kTileRows = 16;  // of a tile of Shorts
constexpr Short kShortOne = 0x3f80;

template <bool Shared>
void multiply_short(Index rows, Place<float> z, Start<float> start, std::initializer_list<Factor<Short>> factors);
void leave_tiles();

#ifdef HAS_SHORT

inline __mmask16 first_lanes(Index count) {
  return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

inline __m512 load_first(const float *from, Index count) { return _mm512_maskz_loadu_ps(first_lanes(count), from); }

// Stores 16 numbers, those after the first `count` as zeros: lanes that stand for nothing are multiplied too.
inline void store_short(Short *to, __m512 v, Index count) {
  const __m256bh rounded = _mm512_maskz_cvtneps_pbh(first_lanes(count), v);
  std::memcpy(to, &rounded, sizeof rounded);
}

inline void store_first(Short *to, __m512 v, Index count) {
  const __m256bh rounded = _mm512_maskz_cvtneps_pbh(first_lanes(count), v);
  __m256i bits;
  std::memcpy(&bits, &rounded, sizeof bits);
  _mm256_mask_storeu_epi16(to, first_lanes(count), bits);
}

inline __m512 load_first(const Short *from, Index count) {
  const __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(count), from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

// Numbers of two rows side by side, as pairs are multiplied.
inline void store_pairs(Short *to, __m512 a, __m512 b) {
  alignas(64) static constexpr Short order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                  8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512bh rounded = _mm512_cvtne2ps_pbh(b, a);
  __m512i bits;
  std::memcpy(&bits, &rounded, sizeof bits);
  _mm512_storeu_si512(to, _mm512_permutexvar_epi16(_mm512_load_si512(order), bits));
}

// Stores 16 vectors of 16 pairs as the matrix that they are, turned; it is written over.
inline void store_turned(__m512i (&a)[16], Short *to, Index to_row) {
  __m512i b[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    a[4 * i] = _mm512_unpacklo_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 1] = _mm512_unpackhi_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 2] = _mm512_unpacklo_epi64(b[4 * i + 1], b[4 * i + 3]);
    a[4 * i + 3] = _mm512_unpackhi_epi64(b[4 * i + 1], b[4 * i + 3]);
  }
  // Of a[4 i + j], quarter q has column 4 q + j of rows 4 i to 4 i + 3.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i e = _mm512_shuffle_i32x4(a[j], a[4 + j], 0x44), f = _mm512_shuffle_i32x4(a[j], a[4 + j], 0xee);
    const __m512i g = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0x44);
    const __m512i h = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0xee);
    _mm512_storeu_si512(to + j * to_row, _mm512_shuffle_i32x4(e, g, 0x88));
    _mm512_storeu_si512(to + (4 + j) * to_row, _mm512_shuffle_i32x4(e, g, 0xdd));
    _mm512_storeu_si512(to + (8 + j) * to_row, _mm512_shuffle_i32x4(f, h, 0x88));
    _mm512_storeu_si512(to + (12 + j) * to_row, _mm512_shuffle_i32x4(f, h, 0xdd));
  }
}

// 16 columns of up to 32 rows of Shorts become 16 rows of 32; what is missing becomes zero.
inline void transpose_short(const Short *from, Index row, Index count, Short *to, Index to_row) {
  __m512i a[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    const Index k = 2 * i;
    auto at = [&](Index r) {
      return r < count ? _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from + r * row)) : __m256i{};
    };
    const __m512i low = _mm512_cvtepu16_epi32(at(k)), high = _mm512_cvtepu16_epi32(at(k + 1));
    a[i] = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  }
  store_turned(a, to, to_row);
}

// Weights of up to 16 units and 32 inputs become pairs of inputs, a vector of all units for each; what is missing
// becomes zero.
inline void pack_pairs(const float *from, Index row, Index units, Index inputs, Short *to, Index to_row) {
  __m512i a[16];
#pragma GCC unroll 16
  for (int u = 0; u < 16; ++u) {
    const Index count = u < units ? inputs : 0;
    const float *own = from + u * row;
    const __m512bh rounded = _mm512_cvtne2ps_pbh(load_first(own + 16, count - 16), load_first(own, count));
    std::memcpy(&a[u], &rounded, sizeof rounded);
  }
  store_turned(a, to, to_row);
}

// The way from a pair of weights to the next one.
inline Index next_pair(const Factor<Short> &f) { return f.next_weights ? f.next_weights : 4 * 32; }

// The product by instructions that multiply pairs.
template <int R, bool Shared>
[[gnu::noinline]] void multiply_pairs(Place<float> z, Start<float> start,
                                      std::initializer_list<Factor<Short>> factors) {
  __m512 acc[R][4];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v)
      acc[r][v] = start.from ? _mm512_loadu_ps(start.from + r * start.row + v * 16) : _mm512_setzero_ps();
  for (const Factor<Short> &f : factors) {
    const Index next = next_pair(f);
    const Short *weights = f.weights;
    for (Index k = 0; k < f.count; k += 2, weights += next) {
      __m512bh w[4];
      std::memcpy(w, weights, sizeof w);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
          std::int32_t pair;
          std::memcpy(&pair, f.values + (Shared ? 0 : v * f.vector) + r * f.row + k, sizeof pair);
          const __m512i pairs = _mm512_set1_epi32(pair);
          __m512bh value;
          std::memcpy(&value, &pairs, sizeof value);
          acc[r][v] = _mm512_dpbf16_ps(acc[r][v], value, w[v]);
        }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) _mm512_storeu_ps(z.to + r * z.row + v * z.vector, acc[r][v]);
}

#ifdef HAS_TILES

// Asks the kernel once whether this process may use tiles.
bool may_use_tiles() {
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, of the state that tiles are
  static const bool may = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return may;
}

// How many rows the tiles of this thread have; 0: they are not set up.
thread_local Index tile_rows = 0;

// Tiles 0 to 3 are sums and 4, 5 values, of so many rows; 6 and 7 are weights, of 16 pairs.
inline void set_up_tiles(Index rows) {
  if (tile_rows == rows) return;
  struct alignas(64) {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {};
  } setting;
  for (int i = 0; i < 8; ++i) setting.rows[i] = i < 6 ? rows : 16;
  asm volatile("" : : "m"(setting) : "memory");
  _tile_loadconfig(&setting);
  tile_rows = rows;
}

inline void clear_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

// Gives tiles back; a thread that keeps them is slower to put aside.
void leave_tiles() {
  if (tile_rows) _tile_release();
  tile_rows = 0;
}

// The product by tiles of 16 x 16 sums, of up to 16 rows.
template <bool Shared>
[[gnu::noinline]] void multiply_tiles(Index rows, Place<float> z, Start<float> start,
                                      std::initializer_list<Factor<Short>> factors) {
  set_up_tiles(rows);
  asm volatile("" ::: "memory");  // tiles read what was written; the compiler does not see that they do
  if (start.from) {
    const Index way = start.row * sizeof(float);
    _tile_loadd(0, start.from, way);
    _tile_loadd(1, start.from + 16, way);
    _tile_loadd(2, start.from + 32, way);
    _tile_loadd(3, start.from + 48, way);
  } else {
    clear_sums();
  }
  for (const Factor<Short> &f : factors) {
    const Index next = next_pair(f), way = next * sizeof(Short), row = f.row * sizeof(Short);
    const Short *weights = f.weights, *values = f.values;
    for (Index k = 0; k < f.count; k += 32, values += 32, weights += 16 * next) {
      _tile_loadd(4, values, row);
      _tile_loadd(6, weights, way);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, weights + 32, way);
      if constexpr (Shared) {
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(6, weights + 64, way);
        _tile_dpbf16ps(2, 4, 6);
        _tile_loadd(7, weights + 96, way);
        _tile_dpbf16ps(3, 4, 7);
      } else {
        _tile_loadd(5, values + f.vector, row);
        _tile_dpbf16ps(1, 5, 7);
        _tile_loadd(6, weights + 64, way);
        _tile_loadd(4, values + 2 * f.vector, row);
        _tile_dpbf16ps(2, 4, 6);
        _tile_loadd(7, weights + 96, way);
        _tile_loadd(5, values + 3 * f.vector, row);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  const Index way = z.row * sizeof(float);
  _tile_stored(0, z.to, way);
  _tile_stored(1, z.to + z.vector, way);
  _tile_stored(2, z.to + 2 * z.vector, way);
  _tile_stored(3, z.to + 3 * z.vector, way);
  asm volatile("" ::: "memory");
}

// The same of up to 32 rows, in two tiles that may share some: weights, which lie further away, are read half as often.
template <bool Shared>
[[gnu::noinline]] void multiply_two_tiles(Index rows, Place<float> z, Start<float> start,
                                          std::initializer_list<Factor<Short>> factors) {
  const bool fits = tile_rows <= rows && rows <= 2 * tile_rows;  // to set them up anew would take time
  set_up_tiles(fits ? tile_rows : divide_up(rows, 2));
  const Index second = rows - tile_rows;
  asm volatile("" ::: "memory");
  for (int v = 0; v < 4; v += 2) {
    if (start.from) {
      const Index way = start.row * sizeof(float);
      const float *from = start.from + 16 * v, *from_second = from + second * start.row;
      _tile_loadd(0, from, way);
      _tile_loadd(1, from + 16, way);
      _tile_loadd(2, from_second, way);
      _tile_loadd(3, from_second + 16, way);
    } else {
      clear_sums();
    }
    for (const Factor<Short> &f : factors) {
      const Index next = next_pair(f), way = next * sizeof(Short), row = f.row * sizeof(Short);
      const Short *weights = f.weights + 32 * v, *values = f.values + (Shared ? 0 : v * f.vector);
      for (Index k = 0; k < f.count; k += 32, values += 32, weights += 16 * next) {
        _tile_loadd(4, values, row);
        _tile_loadd(5, values + second * f.row, row);
        _tile_loadd(6, weights, way);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(2, 5, 6);
        _tile_loadd(7, weights + 32, way);
        if constexpr (!Shared) {
          _tile_loadd(4, values + f.vector, row);
          _tile_loadd(5, values + f.vector + second * f.row, row);
        }
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
    const Index way = z.row * sizeof(float);
    float *to = z.to + v * z.vector, *to_second = to + second * z.row;
    _tile_stored(0, to, way);
    _tile_stored(1, to + z.vector, way);
    _tile_stored(2, to_second, way);
    _tile_stored(3, to_second + z.vector, way);
  }
  asm volatile("" ::: "memory");
}

#endif  // HAS_TILES

template <bool Shared>
void multiply_short(Index rows, Place<float> z, Start<float> start, std::initializer_list<Factor<Short>> factors) {
#ifdef HAS_TILES
  if (may_use_tiles())
    return rows > kTileRows ? multiply_two_tiles<Shared>(rows, z, start, factors)
                            : multiply_tiles<Shared>(rows, z, start, factors);
#endif
  for (Index r = 0; r < rows; r += kRows) {
    auto from = [&](Factor<Short> f) {
      f.values += r * f.row;
      return f;
    };
    Start<float> begin = start;
    if (begin.from) begin.from += r * begin.row;
    const Place<float> to{z.to + r * z.row, z.row, z.vector};
    with_constant<kRows>(std::min<Index>(kRows, rows - r), [&](auto R) {
      const Factor<Short> *f = factors.begin();
      factors.size() == 1 ? multiply_pairs<R.value, Shared>(to, begin, {from(f[0])})
                          : multiply_pairs<R.value, Shared>(to, begin, {from(f[0]), from(f[1])});
    });
  }
}

#endif  // HAS_SHORT

#ifndef HAS_TILES
[[maybe_unused]] void leave_tiles() {}
#endif

template <class T, class M, int N>
void multiply_rows(Index rows, Place<T> z, Start<T> start, std::initializer_list<Factor<M>> factors) {
  bool shared = true;
  for (const Factor<M> &f : factors) shared = shared && f.vector == 0;
  if constexpr (is_short<M>)
    shared ? multiply_short<true>(rows, z, start, factors) : multiply_short<false>(rows, z, start, factors);
  else
    with_constant<kRows>(rows, [&](auto R) {
      shared ? multiply<T, N, R.value, true>(z, start, factors) : multiply<T, N, R.value, false>(z, start, factors);
    });
}

// Cuts rows into groups of kRows, and into two of middling size where one or two would remain; f(first, size). Shorts
// are cut into groups of two tiles, alike, since a change of their size takes time.
template <class M, class F> inline void in_tiles(Index count, F &&f) {
  if constexpr (is_short<M>) {
    const Index size = divide_up(count, divide_up(count, 2 * kTileRows));
    for (Index first = 0; first < count; first += size) f(first, std::min(size, count - first));
    return;
  }
  for (Index first = 0, size; first < count; first += size) {
    const Index left = count - first, rest = left - kRows;
    size = left <= kRows ? left : 0 < rest && rest <= kRows / 3 ? 2 * kRows / 3 : kRows;
    f(first, size);
  }
}

// Cuts `count` into as few parts of at most `most` as will do, all about equal; calls f(first, size) for each.
template <class F> inline void in_parts(Index count, Index most, F &&f) {
  const Index parts = divide_up(count, most);
  for (Index i = 0; i < parts; ++i) {
    const Index first = count * i / parts;
    f(first, count * (i + 1) / parts - first);
  }
}

// ------------------------------------------------------------------ threads and memory

// Calls body(i, slot) for every i < count; no two at the same time have the same slot.
template <class F> void in_parallel(const Problem &p, Index threads, Index count, F &&body) {
  struct Shared {
    F &body;
    Index count;
    std::atomic<Index> next{0}, slots{0};
  } shared{body, count};
  void (*work)(void *) = [](void *data) {
    Shared &s = *static_cast<Shared *>(data);
    const Index slot = s.slots++;
    for (Index i; (i = s.next++) < s.count;) s.body(i, slot);
  };
  if (threads > count) threads = count;
  if (threads > 1 && p.parallel) {
    p.parallel(work, &shared, static_cast<unsigned>(threads), 0);
    return;
  }
  std::vector<std::thread> others;
  try {
    while (static_cast<Index>(others.size()) + 1 < threads) others.emplace_back(work, &shared);
  } catch (...) {  // the system gives no more threads: those that run do it all
  }
  work(&shared);
  for (auto &other : others) other.join();
}

// Hands out pieces of the scratch memory; without any it only counts.
struct Arena {
  char *memory;
  Index used = 0;

  template <class T> T *take(Index count) {
    const Index at = used;
    used += round_up(count * sizeof(T), 64);
    return memory ? reinterpret_cast<T *>(memory + at) : nullptr;
  }
};

// ------------------------------------------------------------------ what both passes share

// How four gates of some blocks of N columns are cut into panels of four vectors. Where `wide`, a panel is one gate
// of four blocks, so that a row has one value for four products; of the blocks left over it is their four gates.
struct Panels {
  Index blocks, quads;

  Panels(Index blocks, bool wide) : blocks(blocks), quads(wide ? blocks / 4 : 0) {}
  Index gate(Index panel, int vector) const { return panel < 4 * quads ? panel % 4 : vector; }
  Index block(Index panel, int vector) const { return panel < 4 * quads ? panel / 4 * 4 + vector : panel; }
};

template <class T, class M, int N> struct Pass {
  using V = Vector<T, N>;
  static constexpr int W = kVectorBytes / sizeof(T);

  const Problem &p;
  Index K = p.models, S = p.steps, B = p.batch, D = p.features, H = p.hidden;
  Index blocks = divide_up(H, N), Hp = blocks * N;
  Index long_row = blocks > 4 ? deep(H) + N : deep(H);  // not a large power of two, which caches dislike
  Index threads = useful_threads();
  Index chunks = divide_up(threads, K) < B ? divide_up(threads, K) : B;  // of a model's batch
  Index rows = widest();                                                 // that go through time together

  explicit Pass(const Problem &problem) : p(problem) {}

  // A thread that is woken for less than some microseconds of work costs more than it brings.
  Index useful_threads() const {
    const double cycles = double(K) * S * B * blocks * (4.0 * (D + H) + 100.0);
    const Index most = static_cast<Index>(cycles / 30e3) + 1;
    return p.threads < most ? p.threads : most;
  }

  Index widest() const {
    const Index chunk = divide_up(B, chunks);
    return divide_up(chunk, divide_up(chunk, kBatch));
  }

  // A count of what is multiplied, with the zeros at its end; and a row of it, which is whole vectors.
  static Index depth(Index count) { return round_up(count, kDeep<M>); }
  static Index deep(Index count) { return round_up(round_up(count, N), kDeep<M>); }

  Index time(Index step) const { return p.reverse ? S - 1 - step : step; }

  bool is_valid(Index k, Index t, Index b) const { return !p.valid || p.valid[k * p.valid_model + t * B + b]; }

  // Calls f(model, chunk, first row, row count, slot) for every chunk of every model.
  template <class F> void for_each_chunk(F &&f) const {
    in_parallel(p, threads, K * chunks, [&](Index unit, Index slot) {
      const Index k = unit / chunks, c = unit % chunks, first = B * c / chunks;
      f(k, c, first, B * (c + 1) / chunks - first, slot);
      if constexpr (is_short<M>) leave_tiles();
    });
  }

  // Multiplies some rows by one panel of weights. The factors' weights are those of the first panel, and their
  // `vector` is the way from gate to gate.
  void multiply_panel(const Panels &panels, Index panel, Index size, Start<T> start, const Factor<M> (&factors)[2],
                      Index row, Index count, Place<T> z) const {
    const bool wide = panel < 4 * panels.quads;
    auto at_panel = [&](const Factor<M> &f) {
      return Factor<M>{f.weights + panel * size, f.values + row * f.row + (wide ? panel % 4 * f.vector : 0), f.row,
                       wide ? 0 : f.vector, f.count};
    };
    if (start.from) start.from += panel * start.panel + row * start.row;
    multiply_rows<T, M, N>(count, z, start, {at_panel(factors[0]), at_panel(factors[1])});
  }

  // Multiplies rows by all panels. What came out of a block of N columns goes to
  // finish(block, z, way from row to row, way from gate to gate).
  template <class F>
  void multiply_panels(const Panels &panels, Index size, Start<T> start, const Factor<M> (&factors)[2], Index rows,
                       T *z, F &&finish) const {
    for (Index quad = 0; quad < panels.quads; ++quad) {
      for (Index g = 0; g < 4; ++g)
        in_tiles<M>(rows, [&](Index row, Index count) {
          multiply_panel(panels, 4 * quad + g, size, start, factors, row, count,
                         {z + (g * rows + row) * 4 * N, 4 * N, N});
        });
      for (Index v = 0; v < 4; ++v) finish(4 * quad + v, z + v * N, 4 * N, rows * 4 * N);
    }
    const Index z_gate = in_lines(rows * N);
    for (Index block = 4 * panels.quads; block < panels.blocks; ++block) {
      in_tiles<M>(rows, [&](Index row, Index count) {
        multiply_panel(panels, block, size, start, factors, row, count, {z + row * N, N, z_gate});
      });
      finish(block, z, N, z_gate);
    }
  }

  static Index z_size(Index rows) { return 4 * 4 * N * rows; }

  // The gates of a step are computed line by line: a line is a vector of L numbers, of one row or, where N < L, of
  // some rows that lie side by side; `line` is the way to the next one, where rows are so long.
  template <int L> static Index lines(Index rows) { return L > N ? divide_up(rows * N, L) : rows; }
  template <int L> static Index line(Index row) { return L > N ? L : row; }
  static Index in_lines(Index count) { return round_up(count, W); }

  // Calls f(std::integral_constant<int, L>). Rows that may be held are computed one by one.
  template <class F> void with_line(F &&f) const {
    p.valid ? f(std::integral_constant<int, N>{}) : f(std::integral_constant<int, W>{});
  }

  // Copies rows of H values into rows of Hp, with zeros at the end; without a source all is zero.
  void pad_rows(const T *from, T *to, Index count) const {
    for (Index r = 0; r < count; ++r)
      for (Index j = 0; j < Hp; ++j) to[r * Hp + j] = from && j < H ? from[r * H + j] : T(0);
  }

  void unpad_rows(const T *from, T *to, Index count) const {
    for (Index r = 0; r < count; ++r) std::memcpy(to + r * H, from + r * Hp, H * sizeof(T));
  }

  // The masks (G, B, H) of some rows as (G, rows, Hp), each gate's in whole lines.
  void pad_masks(Index k, Index b, Index n, T *to) const {
    for (Index g = 0; g < p.recurrent_groups; ++g)
      pad_rows(in(p.recurrent_mask) + ((k * p.recurrent_groups + g) * B + b) * H, to + g * in_lines(n * Hp), n);
  }

  // Where tensors end. A vector may be read beyond its row, but not beyond these: what comes into lanes that stand
  // for no unit stays in them.
  const M *dy_end() const {
    return static_cast<const M *>(p.dy) + (K - 1) * p.dy_model + (S - 1) * p.dy_step + (B - 1) * p.dy_row + H;
  }
  const T *state_end(const void *state) const { return in(state) + K * B * H; }
  const T *y_end() const { return in(p.y) + K * S * B * H; }

  const T *x_at(Index k, Index t, Index b) const { return in(p.x) + k * p.x_model + t * p.x_step + b * p.x_row; }
  const T *x_end() const { return x_at(K - 1, S - 1, B - 1) + D; }
  const T *input_mask_at(Index k, Index group, Index b) const {
    return in(p.input_mask) + ((k * p.input_groups + group) * B + b) * D;
  }
  const T *input_mask_end() const { return input_mask_at(K, 0, 0); }

  // Writes from * mask, and after the `count` values up to a vector more of anything; or zeros, where they count.
  static void multiply_into(M *to, const T *from, const T *from_end, const T *mask, const T *mask_end, Index count) {
    if constexpr (is_short<M>) {
      for (Index j = 0; j < depth(count); j += N) {
        V v = load_first(from + j, count - j);
        if (mask) v *= load_first(mask + j, count - j);
        store_short(to + j, v, count - j);
      }
    } else if (count < 3) {  // too few for vectors
      for (Index j = 0; j < count; ++j) to[j] = mask ? from[j] * mask[j] : from[j];
    } else {
      for (Index j = 0; j < count; j += N) {
        V v = load_until<V>(from + j, from_end);
        if (mask) v *= load_until<V>(mask + j, mask_end);
        store(to + j, v);
      }
    }
  }

  static const T *in(const void *pointer) { return static_cast<const T *>(pointer); }
  static T *out(void *pointer) { return static_cast<T *>(pointer); }
};

// ------------------------------------------------------------------ forward

template <class T, class M, int N> struct Forward : Pass<T, M, N> {
  using Base = Pass<T, M, N>;
  using typename Base::V;
  using Base::p, Base::K, Base::S, Base::B, Base::D, Base::H, Base::blocks, Base::Hp, Base::threads, Base::chunks,
      Base::rows, Base::long_row, Base::W, Base::in_lines, Base::depth;

  struct Slot {
    T *weights;
    M *x, *h[2];
    T *h_plain, *c, *masks, *z, *ahead;
  };
  static constexpr Factor<M> nothing{};
  Panels panels{blocks, p.input_groups == 4 || p.recurrent_groups == 4};
  Index inputs_size = (depth(D) + depth(H)) * 4 * N;                       // of Ms: D, then H
  Index panel_size = 4 * N + inputs_size * sizeof(M) / sizeof(T);  // a row of biases, then those
  Index weights_size = blocks * panel_size;
  Index x_row = depth(D) + (is_short<M> ? 32 : N);  // not a power of two, which caches dislike
  Index h_groups = p.recurrent_groups == 4 ? 4 : 1;
  // Few rows keep a tile half empty: then the inputs of some steps are multiplied together, ahead of time.
  Index steps_ahead = is_short<M> || rows * 2 > kRows ? 1 : kAheadRows / rows < S ? kAheadRows / rows : S;
  // A feature alone is too few for vectors: of that, so many steps are masked together.
  Index column_steps = is_short<M> || steps_ahead > 1 || D > 1 || !p.input_mask ? 0 : std::min(S, kColumnSteps);
  T *shared_weights;
  std::vector<Slot> slots;

  Forward(const Problem &problem, Arena &arena) : Base(problem) {
    shared_weights = chunks > 1 ? arena.take<T>(K * weights_size) : nullptr;
    for (Index i = 0; i < threads; ++i) {
      Slot s;
      s.weights = chunks > 1 ? nullptr : arena.take<T>(weights_size);
      s.x = arena.take<M>((p.input_groups > 0 ? p.input_groups : 1) * rows *
                          (column_steps > 0 ? column_steps : steps_ahead * x_row));
      s.h[0] = arena.take<M>(h_groups * in_lines(rows * long_row));
      s.h[1] = arena.take<M>(h_groups * in_lines(rows * long_row));
      s.h_plain = arena.take<T>(in_lines(rows * Hp));
      s.c = arena.take<T>(in_lines(rows * Hp));
      s.masks = arena.take<T>(p.recurrent_groups * in_lines(rows * Hp));
      s.z = arena.take<T>(this->z_size(rows));
      s.ahead = arena.take<T>(steps_ahead > 1 ? blocks * steps_ahead * rows * 4 * N : 0);
      slots.push_back(s);
    }
  }

  void run() const {
    if (chunks > 1)
      in_parallel(p, threads, K * blocks, [&](Index i, Index) {
        pack(i / blocks, i % blocks, shared_weights + i / blocks * weights_size);
      });
    this->for_each_chunk([&](Index k, Index, Index first, Index count, Index slot) {
      const Slot &s = slots[slot];
      if (chunks == 1)
        for (Index panel = 0; panel < blocks; ++panel) pack(k, panel, s.weights);
      const T *weights = chunks > 1 ? shared_weights + k * weights_size : s.weights;
      in_parts(count, rows, [&](Index b, Index n) { go_through_time(k, first + b, n, s, weights); });
    });
  }

  // Lays the weights of a panel out as they are read: for each input four vectors of N units.
  void pack(Index k, Index panel, T *weights) const {
    T *biases = weights + panel * panel_size;
    pack(panel, biases, p.bias ? this->in(p.bias) + k * 4 * H : nullptr, 1);
    M *next = pack(panel, inputs_of(biases), this->in(p.w_ih) + k * 4 * H * D, D);
    pack(panel, next, this->in(p.w_hh) + k * 4 * H * H, H);
  }

  // Lays out a panel of (4H, columns), and returns where it ends; without a source all is zero.
  template <class To> To *pack(Index panel, To *to, const T *from, Index columns) const {
    for (Index j = 0; j < columns; j += kDeep<To>, to += kDeep<To> * 4 * N)
      for (int v = 0; v < 4; ++v) {
        const Index unit = panels.block(panel, v) * N, first = panels.gate(panel, v) * H + unit;
        if constexpr (is_short<To>)
          pack_pairs(from + first * columns + j, columns, H - unit, columns - j, to + v * 2 * N, 4 * 2 * N);
        else
          for (Index u = 0; u < N; ++u)
            to[v * N + u] = from && unit + u < H ? from[(first + u) * columns + j] : T(0);
      }
    return to;
  }

  // Where a panel's weights lie after its biases.
  static M *inputs_of(T *panel) { return reinterpret_cast<M *>(panel + 4 * N); }
  static const M *inputs_of(const T *panel) { return reinterpret_cast<const M *>(panel + 4 * N); }
  Index panel_way() const { return panel_size * sizeof(T) / sizeof(M); }

  struct Step {
    Index k, t, b, n;
    bool first, last;
    const Slot &s;
    M *h_next;
  };

  void go_through_time(Index k, Index b, Index n, const Slot &s, const T *weights) const {
    this->pad_masks(k, b, n, s.masks);
    this->pad_rows(this->in(p.h_0) + (k * B + b) * H, s.h_plain, n);
    this->pad_rows(this->in(p.c_0) + (k * B + b) * H, s.c, n);
    if constexpr (is_short<M>)  // beyond the units
      for (M *h : s.h) std::memset(h, 0, h_groups * in_lines(n * long_row) * sizeof(M));
    for (Index r = 0; r < n; ++r)
      for (Index j = 0; j < Hp; j += N)
        store_masked(s, s.h[0], n, r * Hp + j, r * long_row + j, j, load<V>(s.h_plain + r * Hp + j));

    for (Index step = 0; step < S; ++step) {
      const Step now{k, this->time(step), b, n, step == 0, step == S - 1, s, s.h[(step + 1) % 2]};
      const Factor<M> h{inputs_of(weights) + depth(D) * 4 * N, s.h[step % 2], long_row,
                        h_groups == 4 ? in_lines(n * long_row) : 0, depth(H)};
      const Start<T> bias{weights, panel_size, 0};
      auto finish_block = [&](Index block, T *z, Index z_row, Index z_gate) {
        this->with_line([&](auto L) { finish<L.value>(now, block * N, z, z_row, z_gate); });
      };
      if (steps_ahead == 1) {
        this->multiply_panels(panels, panel_way(), bias, {take_inputs(k, step, 1, b, n, s, weights), h}, n, s.z,
                              finish_block);
        continue;
      }
      const Index place = step % steps_ahead;
      if (place == 0) look_ahead(take_inputs(k, step, steps_ahead, b, n, s, weights), bias, n, s);
      const Start<T> inputs{s.ahead + place * n * 4 * N, steps_ahead * n * 4 * N, 4 * N};
      this->multiply_panels(panels, panel_way(), inputs, {h, nothing}, n, s.z, finish_block);
    }
    this->unpad_rows(s.h_plain, this->out(p.h_n) + (k * B + b) * H, n);
    this->unpad_rows(s.c, this->out(p.c_n) + (k * B + b) * H, n);
  }

  // The inputs of some steps, masked if there are masks. One step without masks is read where it lies.
  Factor<M> take_inputs(Index k, Index step, Index steps, Index b, Index n, const Slot &s, const T *weights) const {
    const M *w_ih = inputs_of(weights);
    if constexpr (!is_short<M>)
      if (column_steps > 0) {
        const Index place = step % column_steps;
        if (place == 0) mask_column(k, step, b, n, s.x);
        return {w_ih, s.x + place * n, 1, p.input_groups == 4 ? column_steps * n : 0, 1};
      }
    if constexpr (!is_short<M>)
      if (!p.input_mask && steps == 1) return {w_ih, this->x_at(k, this->time(step), b), p.x_row, 0, D};
    if (steps > S - step) steps = S - step;
    const T *x_end = this->x_end(), *mask_end = this->input_mask_end();
    const Index groups = p.input_groups > 0 ? p.input_groups : 1;
    M *to = s.x;
    for (Index g = 0; g < groups; ++g, to = s.x + g * steps_ahead * n * x_row)
      for (Index i = 0; i < steps; ++i) {
        const T *x = this->x_at(k, this->time(step + i), b);
        const T *mask = p.input_mask ? this->input_mask_at(k, g, b) : nullptr;
        for (Index r = 0; r < n; ++r, to += x_row, x += p.x_row, mask += mask ? D : 0)
          this->multiply_into(to, x, x_end, mask, mask_end, D);
      }
    return {w_ih, s.x, x_row, p.input_groups == 4 ? steps_ahead * n * x_row : 0, depth(D)};
  }

  // Of one feature: the inputs of some steps, each row by row, for each group of masks.
  void mask_column(Index k, Index step, Index b, Index n, T *to) const {
    const Index steps = std::min(column_steps, S - step);
    for (Index g = 0; g < p.input_groups; ++g, to += column_steps * n)
      for (Index i = 0; i < steps; ++i) {
        const T *x = this->x_at(k, this->time(step + i), b), *mask = this->input_mask_at(k, g, b);
        for (Index r = 0; r < n; ++r) to[i * n + r] = x[r * p.x_row] * mask[r];
      }
  }

  void look_ahead(const Factor<M> &x, Start<T> bias, Index n, const Slot &s) const {
    for (Index panel = 0; panel < blocks; ++panel)
      in_tiles<M>(steps_ahead * n, [&](Index row, Index count) {
        this->multiply_panel(panels, panel, panel_way(), bias, {x, nothing}, row, count,
                             {s.ahead + (panel * steps_ahead * n + row) * 4 * N, 4 * N, N});
      });
  }

  template <class Line>
  void store_masked(const Slot &s, M *to, Index n, Index at, Index to_at, Index j, Line h) const {
    auto put = [&](M *place, Line v) {
      if constexpr (is_short<M>) store_short(place, v, H - j);
      else store(place, v);
    };
    if (!p.recurrent_mask) return put(to + to_at, h);
    for (Index g = 0; g < p.recurrent_groups; ++g)
      put(to + g * in_lines(n * long_row) + to_at, h * load<Line>(s.masks + g * in_lines(n * Hp) + at));
  }

  // From the gates of N units to all that a step leaves behind.
  template <int L>
  [[gnu::noinline]] void finish(const Step &now, Index j, T *z, Index z_row, Index z_gate) const {
    using Line = Vector<T, L>;
    constexpr bool quick = is_short<M>;
    const Slot &s = now.s;
    const Index step = now.k * S + now.t, row = step * B + now.b, end = now.n * Hp, gate = B * Hp;
    T *gates = p.gates ? this->out(p.gates) + step * 4 * gate + now.b * Hp : nullptr;
    T *cells = p.gates ? this->out(p.cells) + row * Hp : nullptr;
    M *y = static_cast<M *>(p.y) + row * H;
    const Index lines = this->template lines<L>(now.n);
    for (Index r = 0; r < lines; ++r) {
      const Index at = r * this->template line<L>(Hp) + j;
      T *from = z + r * this->template line<L>(z_row);
      const Line i = sigmoid<T, L, quick>(load<Line>(from)), f = sigmoid<T, L, quick>(load<Line>(from + z_gate));
      const Line g = tanh<T, L, quick>(load<Line>(from + 2 * z_gate));
      const Line o = sigmoid<T, L, quick>(load<Line>(from + 3 * z_gate));
      Line c = f * load<Line>(s.c + at) + i * g;
      if constexpr (L == N)
        if (!this->is_valid(now.k, now.t, now.b + r)) c = load<Line>(s.c + at);
      if (gates) {
        store_until(gates + at, gates + end, i);
        store_until(gates + gate + at, gates + gate + end, f);
        store_until(gates + 2 * gate + at, gates + 2 * gate + end, g);
        store_until(gates + 3 * gate + at, gates + 3 * gate + end, o);
        store_until(cells + at, cells + end, c);
      }
      store(s.c + at, c);
      store(from + 3 * z_gate, o);
    }
    for (Index r = 0; r < lines; ++r) {  // apart from the loop above, which so waits less for what it needs
      const Index at = r * this->template line<L>(Hp) + j;
      const T *o = z + r * this->template line<L>(z_row) + 3 * z_gate;
      Line h = load<Line>(o) * tanh<T, L, quick>(load<Line>(s.c + at));
      if constexpr (L == N) {
        Line shown = h;
        if (!this->is_valid(now.k, now.t, now.b + r)) {
          h = load<Line>(s.h_plain + at);
          shown = held(now, r, j);
        }
        if constexpr (is_short<M>) store_first(y + r * H + j, shown, H - j);
        else store_until(y + r * H + j, y + r * H + H, shown);
      }
      if (L > N || p.valid || now.last) store(s.h_plain + at, h);
      store_masked(s, now.h_next, now.n, at, r * this->template line<L>(long_row) + j, j, h);
    }
    if constexpr (L > N)  // each row writes over what the one before it wrote too far
      for (Index r = 0; r < now.n; ++r) store_until(y + r * H, y + now.n * H, load<V>(s.h_plain + r * Hp));
  }

  // What the output shows at a step that is not valid: the output before it.
  V held(const Step &now, Index r, Index j) const {
    if (now.first) return V{};
    const Index before = p.reverse ? now.t + 1 : now.t - 1;
    const M *y = static_cast<const M *>(p.y) + ((now.k * S + before) * B + now.b + r) * H;
    if constexpr (is_short<M>) return load_first(y + j, H - j);
    else return load_until<V>(y + j, y + H);
  }
};

// ------------------------------------------------------------------ backward

template <class T, class M, int N> struct Backward : Pass<T, M, N> {
  using Base = Pass<T, M, N>;
  using typename Base::V;
  using Base::p, Base::K, Base::S, Base::B, Base::D, Base::H, Base::blocks, Base::Hp, Base::threads, Base::chunks,
      Base::rows, Base::long_row, Base::W, Base::in_lines, Base::depth;

  struct Slot {
    M *weights, *dz, *dz_turned;
    T *dh, *dc, *d_held, *c_0, *masks, *column_masks;
    M *inputs;
    T *z;
  };
  Panels h_panels{blocks, true}, x_panels{p.dx ? divide_up(D, N) : 0, true};
  Index panel_size = depth(H) * 4 * N;
  Index weights_size = (h_panels.blocks + x_panels.blocks) * panel_size;
  Index input_groups = p.input_groups == 4 || p.recurrent_groups == 4 ? 4 : 1;
  Panels w_panels{blocks, input_groups == 4};
  // Of few units it is dear to copy inputs four times, masked for each gate: there sums over time are masked instead,
  // unless there are next to none.
  bool masks_sums = !is_short<M> && input_groups == 4 && w_panels.quads == 0 && S > 3;
  Index copies = masks_sums ? 1 : input_groups;  // of the inputs
  // Of [h, x, 1]: an odd number of vectors; of Shorts [h, x, 1] with h in whole vectors, all in whole panels.
  Index columns = is_short<M> ? round_up(Hp + D + 1, 4 * N) : H + D + 1, input_row = round_up(columns, N);
  Index chunk_steps = steps_at_once(), dz_gate = chunk_steps * rows * long_row + N;
  Index most_rows = round_up(chunk_steps * rows, kDeep<M>);
  Index turned_row = most_rows + 32;
  Index sums_size = blocks * columns * 4 * N;  // gradients of [w_hh, w_ih, bias], transposed; of Shorts as they are
  M *shared_weights;
  T *sums;
  std::vector<Slot> slots;

  Index steps_at_once() const {
    const Index steps = masks_sums ? kMaskedRows / (rows * blocks)
                                   : kChunkRows / (is_short<M> ? rows : rows * input_groups);
    return steps < 1 ? 1 : steps < S ? steps : S;
  }

  Backward(const Problem &problem, Arena &arena) : Base(problem) {
    shared_weights = chunks > 1 ? arena.take<M>(K * weights_size) : nullptr;
    sums = arena.take<T>((chunks > 1 ? K * chunks : threads) * sums_size);
    for (Index i = 0; i < threads; ++i) {
      Slot s;
      s.weights = chunks > 1 ? nullptr : arena.take<M>(weights_size);
      s.dz = arena.take<M>(4 * dz_gate);
      s.dz_turned = is_short<M> ? arena.take<M>(4 * Hp * turned_row) : nullptr;
      s.dh = arena.take<T>(in_lines(rows * Hp));
      s.dc = arena.take<T>(in_lines(rows * Hp));
      s.d_held = arena.take<T>(in_lines(rows * Hp));
      s.c_0 = arena.take<T>(in_lines(rows * Hp));
      s.masks = arena.take<T>(p.recurrent_groups * in_lines(rows * Hp));
      s.column_masks = arena.take<T>(masks_sums ? rows * columns * 4 : 0);
      s.inputs = arena.take<M>(copies * most_rows * input_row + N);
      s.z = arena.take<T>(this->z_size(kBatch));
      slots.push_back(s);
    }
  }

  void run() const {
    const Index panels = h_panels.blocks + x_panels.blocks;
    if (chunks > 1)
      in_parallel(p, threads, K * panels, [&](Index i, Index) {
        pack(i / panels, i % panels, shared_weights + i / panels * weights_size);
      });
    this->for_each_chunk([&](Index k, Index chunk, Index first, Index count, Index slot) {
      const Slot &s = slots[slot];
      if (chunks == 1)
        for (Index panel = 0; panel < panels; ++panel) pack(k, panel, s.weights);
      const M *weights = chunks > 1 ? shared_weights + k * weights_size : s.weights;
      T *sum = sums + (chunks > 1 ? k * chunks + chunk : slot) * sums_size;
      std::memset(sum, 0, sums_size * sizeof(T));
      in_parts(count, rows, [&](Index b, Index n) { go_back(k, first + b, n, s, weights, sum); });
      if (chunks == 1)
        for (Index panel = 0; panel < blocks; ++panel) add_up(k, panel, sum, 1);
    });
    if (chunks > 1)
      in_parallel(p, threads, K * blocks, [&](Index i, Index) {
        add_up(i / blocks, i % blocks, sums + i / blocks * chunks * sums_size, chunks);
      });
  }

  // Lays the weights of a panel out as they are read: for each unit four vectors of N columns, of w_hh first, then
  // of w_ih.
  void pack(Index k, Index panel, M *weights) const {
    M *to = weights + panel * panel_size;
    const bool of_h = panel < h_panels.blocks;
    const Panels &panels = of_h ? h_panels : x_panels;
    const Index columns = of_h ? H : D, own = of_h ? panel : panel - h_panels.blocks;
    const T *from = this->in(of_h ? p.w_hh : p.w_ih) + k * 4 * H * columns;
    if constexpr (is_short<M>) {
      for (Index u = 0; u < depth(H); u += 2)
        for (int v = 0; v < 4; ++v, to += 2 * N) {
          const Index column = panels.block(own, v) * N;
          const T *row = from + (panels.gate(own, v) * H + u) * columns + column;
          store_pairs(to, load_first(row, u < H ? columns - column : 0),
                      load_first(row + columns, u + 1 < H ? columns - column : 0));
        }
    } else {
      for (Index u = 0; u < H; ++u)
        for (int v = 0; v < 4; ++v, to += N) {
          const T *row = from + (panels.gate(own, v) * H + u) * columns;
          store(to, load_until<V>(row + panels.block(own, v) * N, row + columns));
        }
    }
  }

  void go_back(Index k, Index b, Index n, const Slot &s, const M *weights, T *sum) const {
    if constexpr (is_short<M>) std::memset(s.dz, 0, 4 * dz_gate * sizeof(M));  // beyond the units
    this->pad_masks(k, b, n, s.masks);
    if (masks_sums) mask_columns(k, b, n, s);
    this->pad_rows(p.dh_n ? this->in(p.dh_n) + (k * B + b) * H : nullptr, s.dh, n);
    this->pad_rows(p.dc_n ? this->in(p.dc_n) + (k * B + b) * H : nullptr, s.dc, n);
    this->pad_rows(this->in(p.c_0) + (k * B + b) * H, s.c_0, n);
    if (p.valid) std::memset(s.d_held, 0, n * Hp * sizeof(T));
    for (Index end = S; end > 0;) {
      const Index begin = end > chunk_steps ? end - chunk_steps : 0;
      for (Index step = end - 1; step >= begin; --step) {
        M *dz = s.dz + (step - begin) * n * long_row;
        if (p.dy || enters(p.of_y)) outputs_back(k, step, b, n, s);
        this->with_line([&](auto L) { gates_back<L.value>(k, step, b, n, s, dz); });
        if (step > 0 || p.dh_0) states_back(k, step, b, n, s, dz, weights);
      }
      if (p.dx) inputs_back(k, begin, end, b, n, s, weights + h_panels.blocks * panel_size);
      weights_back(k, begin, end, b, n, s, sum);
      end = begin;
    }
    if (p.dh_0) this->unpad_rows(s.dh, this->out(p.dh_0) + (k * B + b) * H, n);
    if (p.dc_0) this->unpad_rows(s.dc, this->out(p.dc_0) + (k * B + b) * H, n);
  }

  // Adds the gradient of the output to that of h; where a state is held, it waits for the step that made it.
  void outputs_back(Index k, Index step, Index b, Index n, const Slot &s) const {
    const Index t = this->time(step);
    const M *dy = static_cast<const M *>(p.dy), *end = dy ? this->dy_end() : nullptr;
    if (dy) dy += k * p.dy_model + t * p.dy_step + b * p.dy_row;
    const M *y = static_cast<const M *>(p.y) + ((k * S + t) * B + b) * H;
    for (Index r = 0; r < n; ++r, dy += dy ? p.dy_row : 0, y += H)
      for (Index j = 0; j < Hp; j += N) {
        const Index at = r * Hp + j;
        V here = {};
        if constexpr (is_short<M>) {
          if (dy) here = load_first(dy + j, H - j);
          if (enters(p.of_y)) here += slope(p.of_y, load_first(y + j, H - j));
        } else {
          if (dy) here = load_until<V>(dy + j, end);
          if (enters(p.of_y)) here += slope(p.of_y, load_until<V>(y + j, this->y_end()));
        }
        if (p.valid) {
          const bool valid = this->is_valid(k, t, b + r);
          here += load<V>(s.d_held + at);
          store(s.d_held + at, valid ? V{} : here);
          if (!valid) continue;
        }
        store(s.dh + at, load<V>(s.dh + at) + here);
      }
  }

  // Back through the gates of some sequences at one step.
  template <int L>
  [[gnu::noinline]] void gates_back(Index k, Index step, Index b, Index n, const Slot &s, M *dz) const {
    using Line = Vector<T, L>;
    const Index t = this->time(step), row = (k * S + t) * B + b, end = n * Hp, dz_end = n * long_row, gate = B * Hp;
    const T *gates = this->in(p.gates) + (k * S + t) * 4 * gate + b * Hp, *cells = this->in(p.cells) + row * Hp;
    const T *before = step > 0 ? this->in(p.cells) + ((k * S + this->time(step - 1)) * B + b) * Hp : s.c_0;
    const Index lines = this->template lines<L>(n);
    for (Index r = 0; r < lines; ++r) {
      const bool valid = L > N || this->is_valid(k, t, b + r);
      for (Index j = 0; j < (L > N ? 1 : Hp); j += N) {
        const Index at = r * this->template line<L>(Hp) + j, dz_at = r * this->template line<L>(long_row) + j;
        auto put = [&](Index g, Line v) {
          if constexpr (is_short<M>) store_short(dz + g * dz_gate + dz_at, v, H - j);
          else store_until(dz + g * dz_gate + dz_at, dz + g * dz_gate + dz_end, v);
        };
        if (!valid) {
          for (int g = 0; g < 4; ++g) put(g, Line{});
          continue;
        }
        auto kept = [&](const T *from) { return load_until<Line>(from + at, from + end); };
        const Line i = kept(gates), f = kept(gates + gate), g = kept(gates + 2 * gate), o = kept(gates + 3 * gate);
        const Line dh = load<Line>(s.dh + at), tanh_c = tanh<T, L, is_short<M>>(kept(cells));
        const Line dc = load<Line>(s.dc + at) + dh * o * (T(1) - tanh_c * tanh_c);
        put(0, dc * g * i * (T(1) - i));
        put(1, dc * kept(before) * f * (T(1) - f));
        put(2, dc * i * (T(1) - g * g));
        put(3, dh * tanh_c * o * (T(1) - o));
        store(s.dc + at, dc * f);
      }
    }
  }

  // The gradient of h before a step, from those of the gates; a held state keeps its own.
  void states_back(Index k, Index step, Index b, Index n, const Slot &s, const M *dz, const M *weights) const {
    const Index t = this->time(step);
    this->multiply_panels(h_panels, panel_size, {}, {{weights, dz, long_row, dz_gate, depth(H)}, {}}, n, s.z,
                          [&](Index block, const T *z, Index z_row, Index z_gate) {
                            this->with_line([&](auto L) {
                              const Index lines = this->template lines<L.value>(n);
                              for (Index r = 0; r < lines; ++r, z += this->template line<L.value>(z_row)) {
                                const Index at = r * this->template line<L.value>(Hp) + block * N;
                                const auto dh = over_gates<L.value>(z, z_gate, p.recurrent_groups, s.masks + at,
                                                                    in_lines(n * Hp), nullptr);
                                if (L.value > N || this->is_valid(k, t, b + r)) store(s.dh + at, dh);
                              }
                            });
                          });
  }

  void inputs_back(Index k, Index begin, Index end, Index b, Index n, const Slot &s, const M *weights) const {
    in_parts((end - begin) * n, kBatch, [&](Index part, Index count) {
      const Factor<M> dz{weights, s.dz + part * long_row, long_row, dz_gate, depth(H)};
      auto finish_block = [&](Index block, const T *z, Index z_row, Index z_gate) {
        for (Index i = part; i < part + count; ++i, z += z_row) {
          const Index t = this->time(begin + i / n), r = b + i % n, j = block * N;
          const T *mask = p.input_mask ? this->input_mask_at(k, 0, r) + j : nullptr;
          T *dx = this->out(p.dx) + ((k * S + t) * B + r) * D;
          store_until(dx + j, dx + D,
                      over_gates<N>(z, z_gate, p.input_groups, mask, B * D, this->input_mask_end()));
        }
      };
      this->multiply_panels(x_panels, panel_size, {}, {dz, {}}, count, s.z, finish_block);
    });
  }

  // Sums over the gates, each through its mask; a mask may be read up to `end`, if there is one.
  template <int L>
  Vector<T, L> over_gates(const T *z, Index z_gate, Index groups, const T *mask, Index next_mask, const T *end) const {
    using V = Vector<T, L>;
    V total = {};
    for (Index g = 0; g < 4; ++g) {
      const V d = load<V>(z + g * z_gate);
      const T *m = groups == 4 ? mask + g * next_mask : mask;
      total += groups == 4 ? d * (end ? load_until<V>(m, end) : load<V>(m)) : d;
    }
    return groups == 1 ? total * (end ? load_until<V>(mask, end) : load<V>(mask)) : total;
  }

  // Adds the products of what came into some steps and of the gradients of its gates.
  void weights_back(Index k, Index begin, Index end, Index b, Index n, const Slot &s, T *sum) const {
    if constexpr (is_short<M>) short_weights_back(k, begin, end, b, n, s, sum);
    else if (masks_sums) masked_weights_back(k, begin, end, b, n, s, sum);
    else long_weights_back(k, begin, end, b, n, s, sum);
  }

  // What multiplies the inputs [h, x, 1] of each sequence on their way into the four gates.
  void mask_columns(Index k, Index b, Index n, const Slot &s) const {
    const Index h_way = p.recurrent_groups == 4 ? in_lines(n * Hp) : 0, x_way = p.input_groups == 4 ? B * D : 0;
    T *to = s.column_masks;
    for (Index r = 0; r < n; ++r) {
      const T *h = p.recurrent_mask ? s.masks + r * Hp : nullptr;
      const T *x = p.input_mask ? this->input_mask_at(k, 0, b + r) : nullptr;
      for (Index column = 0; column < columns; ++column)
        for (Index g = 0; g < 4; ++g)
          *to++ = column < H ? (h ? h[g * h_way + column] : T(1))
                             : column < H + D && x ? x[g * x_way + column - H] : T(1);
    }
  }

  void masked_weights_back(Index k, Index begin, Index end, Index b, Index n, const Slot &s, T *sum) const {
    for (Index step = begin; step < end; ++step)
      copy_inputs(k, step, b, n, false, 0, s, s.inputs + (step - begin) * n * input_row);
    for (Index block = 0; block < blocks; ++block)
      in_tiles<M>(columns, [&](Index column, Index width) {
        const Place<T> to{sum + (block * columns + column) * 4 * N, 4 * N, N};
        const Factor<T> dz{s.dz + block * N, s.inputs + column, 1, 0, end - begin, n * input_row, n * long_row, dz_gate};
        with_constant<kRows>(width, [&](auto R) {
          multiply_then_mask<T, N, R.value>(to, dz, long_row, input_row, n, s.column_masks + 4 * column, 4 * columns);
        });
      });
  }

  void long_weights_back(Index k, Index begin, Index end, Index b, Index n, const Slot &s, T *sum) const {
    const Index count = (end - begin) * n, next_group = input_groups == 4 ? count * input_row : 0;
    for (Index group = 0; group < input_groups; ++group)
      for (Index step = begin; step < end; ++step)
        copy_inputs(k, step, b, n, true, group, s, s.inputs + group * next_group + (step - begin) * n * input_row);
    for (Index panel = 0; panel < blocks; ++panel) {
      const Index gate = w_panels.gate(panel, 0), block = w_panels.block(panel, 0);
      const bool one_gate = panel < 4 * w_panels.quads;
      in_tiles<M>(columns, [&](Index column, Index width) {
        T *to = sum + (panel * columns + column) * 4 * N;
        multiply_rows<T, M, N>(width, {to, 4 * N, N}, {to, 0, 4 * N},
                            {{s.dz + gate * dz_gate + block * N, s.inputs + gate * next_group + column, 1,
                              one_gate ? 0 : next_group, count, input_row, long_row, one_gate ? N : dz_gate}});
      });
    }
  }

  // The same of Shorts: pairs of inputs of two sequences or steps, and the gradients of each unit side by side.
  void short_weights_back(Index k, Index begin, Index end, Index b, Index n, const Slot &s, T *sum) const {
    const Index count = (end - begin) * n, whole = depth(count), group_size = most_rows * input_row;
    auto row = [&](Index i) { return i < count ? row_at(k, begin + i / n, b, i % n, s) : Row{}; };
    for (Index i = 0; i < whole; i += 2) pair_inputs(row(i), row(i + 1), n, s.inputs + i * input_row);
    for (Index g = 0; g < 4; ++g)
      for (Index j = 0; j < Hp; j += N)
        for (Index i = 0; i < whole; i += 32)
          transpose_short(s.dz + g * dz_gate + i * long_row + j, long_row, count - i,
                          s.dz_turned + (g * Hp + j) * turned_row + i, turned_row);
    for (Index g = 0; g < 4; ++g)
      for (Index column = 0; column < columns; column += 4 * N)
        for (Index j = 0; j < Hp; j += 2 * N) {
          T *to = sum + (g * Hp + j) * columns + column;
          multiply_rows<T, M, N>(std::min<Index>(2 * N, Hp - j), {to, columns, N}, {to, 0, columns},
                                 {{s.inputs + (input_groups == 4 ? g * group_size : 0) + 2 * column,
                                   s.dz_turned + (g * Hp + j) * turned_row, turned_row, 0, whole, 1, 2 * input_row}});
        }
  }

  // What came into a sequence at a step, of which h is the output before or, at the beginning, h_0.
  struct Row {
    bool counts = false;  // else all of it is zero
    const T *x, *x_mask, *h_mask, *h_0;
    const M *y;  // null: h_0 takes its place
  };

  Row row_at(Index k, Index step, Index b, Index r, const Slot &s) const {
    const Index t = this->time(step), row = b + r;
    if (!this->is_valid(k, t, row)) return {};
    return {true,
            this->x_at(k, t, row),
            p.input_mask ? this->input_mask_at(k, 0, row) : nullptr,
            p.recurrent_mask ? s.masks + r * Hp : nullptr,
            this->in(p.h_0) + (k * B + row) * H,
            has_begun(k, step, row) ? static_cast<const M *>(p.y) + ((k * S + this->time(step - 1)) * B + row) * H
                                    : nullptr};
  }

  // Inputs [m_h * h before, m_x * x, 1] of two rows of a chunk, with the masks of each gate.
  void pair_inputs(const Row &first, const Row &second, Index n, M *to) const {
    const Index h_way = p.recurrent_groups == 4 ? in_lines(n * Hp) : 0, x_way = p.input_groups == 4 ? B * D : 0;
    for (Index g = 0; g < input_groups; ++g, to += most_rows * input_row) {
      auto h = [&](const Row &row, Index j) {
        if (!row.counts) return V{};
        const V v = row.y ? load_first(row.y + j, H - j) : load_first(row.h_0 + j, H - j);
        return row.h_mask ? V(v * load<V>(row.h_mask + g * h_way + j)) : v;
      };
      auto x = [&](const Row &row, Index j) {
        if (!row.counts) return V{};
        const V v = load_first(row.x + j, D - j);
        return row.x_mask ? V(v * load_first(row.x_mask + g * x_way + j, D - j)) : v;
      };
      for (Index j = 0; j < Hp; j += N) store_pairs(to + 2 * j, h(first, j), h(second, j));
      for (Index j = 0; Hp + j < columns; j += N) store_pairs(to + 2 * (Hp + j), x(first, j), x(second, j));
      to[2 * (Hp + D)] = first.counts ? kShortOne : M(0);
      to[2 * (Hp + D) + 1] = second.counts ? kShortOne : M(0);
    }
  }

  // Rows [m_h * h before, m_x * x, 1] of a step, with the masks of one gate or none. What no gradient meets is zero.
  void copy_inputs(Index k, Index step, Index b, Index n, bool masked, Index group, const Slot &s, M *to) const {
    const Index t = this->time(step);
    const T *h_0 = this->in(p.h_0) + (k * B + b) * H, *h_0_end = this->state_end(p.h_0), *y_end = this->y_end();
    const T *y = step > 0 ? this->in(p.y) + ((k * S + this->time(step - 1)) * B + b) * H : nullptr;
    const T *h_mask =
        masked && p.recurrent_mask ? s.masks + (p.recurrent_groups == 4 ? group * in_lines(n * Hp) : 0) : nullptr;
    const T *x = this->x_at(k, t, b), *x_end = this->x_end(), *x_mask_end = this->input_mask_end();
    const T *x_mask = masked && p.input_mask ? this->input_mask_at(k, p.input_groups == 4 ? group : 0, b) : nullptr;
    for (Index r = 0; r < n; ++r, to += input_row) {
      if (this->is_valid(k, t, b + r)) {
        const bool begun = has_begun(k, step, b + r);
        this->multiply_into(to, begun ? y + r * H : h_0 + r * H, begun ? y_end : h_0_end, h_mask,
                            h_mask ? h_mask + Hp : nullptr, H);
        this->multiply_into(to + H, x, x_end, x_mask, x_mask_end, D);
        to[H + D] = M(1);
      } else {
        std::memset(to, 0, columns * sizeof(M));
      }
      x += p.x_row;
      if (h_mask) h_mask += Hp;
      if (x_mask) x_mask += D;
    }
  }

  // Whether a step before this one was valid. Then h is the output shown before it, and until then h_0.
  bool has_begun(Index k, Index step, Index b) const {
    bool begun = step > 0 && !p.valid;
    for (Index i = step - 1; i >= 0 && !begun; --i) begun = this->is_valid(k, this->time(i), b);
    return begun;
  }

  // The gradient of an elastic net.
  static bool enters(const double *of) { return of[0] != 0 || of[1] != 0; }

  template <class W> static W slope(const double *of, W w) {
    W total = {};
    if (of[0] != 0) total += T(of[0]) * ((w > T(0) ? W{} + T(1) : W{}) - (w < T(0) ? W{} + T(1) : W{}));
    if (of[1] != 0) total += T(of[1]) * w;
    return total;
  }

  // The gradients of the nets of some weights, which lie side by side.
  static void add_slopes(const double *of, const T *w, T *to, Index count) {
    if (!w || !enters(of)) return;
    for (Index i = 0; i < count; i += N)
      store_until(to + i, to + count, load_until<V>(to + i, to + count) + slope(of, load_until<V>(w + i, w + count)));
  }

  // Adds up what the chunks of a model's batch found, for a panel of the weights.
  void add_up(Index k, Index panel, const T *parts, Index count) const {
    if constexpr (is_short<M>) return add_up_short(k, panel, parts, count);
    for (Index v = 0; v < 4; ++v) {
      const Index unit = w_panels.block(panel, v) * N, row = (k * 4 + w_panels.gate(panel, v)) * H + unit;
      for (Index column = 0; column < columns; ++column) {
        const T *part = parts + ((panel * columns + column) * 4 + v) * N;
        V total = load<V>(part);
        for (Index i = 1; i < count; ++i) total += load<V>(part + i * sums_size);
        T *to = column < H ? this->out(p.dw_hh) + row * H + column
                : column < H + D ? this->out(p.dw_ih) + row * D + column - H : this->out(p.dbias) + row;
        const Index next = column < H ? H : column < H + D ? D : 1;
        if (column < H + D || p.dbias)
          for (Index u = 0; u < N && unit + u < H; ++u) to[u * next] = total[u];
      }
      for (Index u = 0; u < N && unit + u < H; ++u) add_slopes_of_unit(row + u);
    }
  }

  void add_slopes_of_unit(Index row) const {
    add_slopes(p.of_w_hh, this->in(p.w_hh) + row * H, this->out(p.dw_hh) + row * H, H);
    add_slopes(p.of_w_ih, this->in(p.w_ih) + row * D, this->out(p.dw_ih) + row * D, D);
    if (p.dbias) add_slopes(p.of_bias, this->in(p.bias) + row, this->out(p.dbias) + row, 1);
  }

  void add_up_short(Index k, Index block, const T *parts, Index count) const {
    for (Index g = 0; g < 4; ++g)
      for (Index unit = block * N; unit < block * N + N && unit < H; ++unit) {
        const Index row = (k * 4 + g) * H + unit;
        const T *part = parts + (g * Hp + unit) * columns;
        auto total = [&](Index column) {
          T sum = part[column];
          for (Index i = 1; i < count; ++i) sum += part[i * sums_size + column];
          return sum;
        };
        for (Index j = 0; j < H; ++j) this->out(p.dw_hh)[row * H + j] = total(j);
        for (Index j = 0; j < D; ++j) this->out(p.dw_ih)[row * D + j] = total(Hp + j);
        if (p.dbias) this->out(p.dbias)[row] = total(Hp + D);
        add_slopes_of_unit(row);
      }
  }
};

// ------------------------------------------------------------------ elastic nets

// Up to `end`; Shorts are the first halves of floats.
template <int N, class M> inline Vector<Real, N> reals(const M *from, const M *end) {
  const auto v = load_until<Vector<M, N>>(from, end);
  if constexpr (is_short<M>) {
    const auto bits = __builtin_convertvector(v, Vector<std::uint32_t, N>) << 16;
    return __builtin_convertvector(reinterpret_cast<const Vector<float, N> &>(bits), Vector<Real, N>);
  } else {
    return v;
  }
}

// of[0] * sum |w| + of[1] * sum w * w; zero without a w.
template <class M> double net(const M *w, Index count, const double *of) {
  const double l1 = of[0], l2 = of[1];
  if (!w || (l1 == 0 && l2 == 0)) return 0;
  using V = Vector<Real, kVectorBytes / sizeof(Real)>;
  constexpr Index lanes = kVectorBytes / sizeof(Real), together = 64 * lanes;  // so few that no digit is lost
  double total = 0;
  for (Index begin = 0; begin < count; begin += together) {
    const Index end = std::min(count, begin + together);
    V sums[4] = {}, squares[4] = {};
    for (Index i = begin; i < end; i += 4 * lanes)
      for (int v = 0; v < 4; ++v) {
        const V x = reals<lanes>(w + i + v * lanes, w + end);
        if (l1 != 0) sums[v] += x < 0 ? -x : x;
        squares[v] += x * x;
      }
    const V sum = sums[0] + sums[1] + sums[2] + sums[3], square = squares[0] + squares[1] + squares[2] + squares[3];
    for (Index j = 0; j < lanes; ++j) total += (l1 != 0 ? l1 * sum[j] : 0) + (l2 != 0 ? l2 * square[j] : 0);
  }
  return total;
}

// ------------------------------------------------------------------ the door

template <template <class, class, int> class P, class T, class M, int N> Index compute(const Problem &p) {
  Arena arena{static_cast<char *>(p.scratch)};
  const P<T, M, N> pass(p, arena);
  if (p.scratch) pass.run();
  return arena.used;
}

constexpr int kLanes = kVectorBytes / sizeof(Real);

// Shorter vectors waste less on few units.
constexpr int kHalf = kLanes / 2, kQuarter = kLanes < 4 ? 1 : kLanes / 4;
int width(Index hidden) { return hidden <= kQuarter ? kQuarter : hidden <= kHalf ? kHalf : kLanes; }

template <template <class, class, int> class P> Index compute(const Problem &p) {
  const int n = width(p.hidden);
#ifdef HAS_SHORT
  if constexpr (std::is_same_v<Real, float>)
    if (p.short_products && n == kLanes) return compute<P, Real, Short, kLanes>(p);
#endif
  return n == kLanes ? compute<P, Real, Real, kLanes>(p)
         : n == kHalf ? compute<P, Real, Real, kHalf>(p)
                      : compute<P, Real, Real, kQuarter>(p);
}

// What the nets cost of which a forward pass has been told, once it has written y.
void add_costs(const Problem &p) {
  const Index gates = p.models * 4 * p.hidden, outputs = p.models * p.steps * p.batch * p.hidden;
  const auto of = [](const void *w, Index count, const double *net_of) {
    return net(static_cast<const Real *>(w), count, net_of);
  };
  const bool has_shorts = p.short_products && width(p.hidden) == kLanes;
  const double costs[4] = {of(p.w_ih, gates * p.features, p.of_w_ih), of(p.w_hh, gates * p.hidden, p.of_w_hh),
                           of(p.bias, gates, p.of_bias),
                           has_shorts ? net(static_cast<const Short *>(p.y), outputs, p.of_y)
                                      : of(p.y, outputs, p.of_y)};
  for (int i = 0; i < 4; ++i) static_cast<Real *>(p.costs)[i] = Real(costs[i]);
  *static_cast<Real *>(p.cost) = Real(costs[0] + costs[1] + costs[2] + costs[3]);
}

// ------------------------------------------------------------------ a step of training

// One model after the other goes forward, through its head and its loss, and back: so what the forward pass keeps is
// still near when the backward pass reads it.
struct Learning {
  struct Slot {
    Real *zeros, *h_n, *c_n, *y, *gates, *cells, *dh_n, *slopes;
    char *scratch;
  };

  const Lesson &q;
  Problem one = q.layer;  // a model of it
  Index S = one.steps, B = one.batch, D = one.features, H = one.hidden, O = q.outputs;
  Index threads = std::min(one.threads, one.models);
  bool learns = q.gradient != nullptr;
  std::vector<Slot> slots;

  Learning(const Lesson &lesson, Arena &arena) : q(lesson) {
    one.models = one.threads = 1;
    one.scratch = nullptr;
    one.parallel = nullptr;
    const Index states = B * H, kept = learns ? S * B * round_up(H, width(H)) : 0;
    const Index scratch = std::max(compute<Forward>(one), learns ? compute<Backward>(one) : 0);
    for (Index i = 0; i < threads; ++i) {
      Slot s;
      s.zeros = arena.take<Real>(states);
      s.h_n = arena.take<Real>(states);
      s.c_n = arena.take<Real>(states);
      s.y = arena.take<Real>(S * states);  // or Shorts
      s.gates = arena.take<Real>(4 * kept);
      s.cells = arena.take<Real>(kept);
      s.dh_n = arena.take<Real>(learns ? states : 0);
      s.slopes = arena.take<Real>(O);  // of a case's loss, by its predictions
      s.scratch = arena.take<char>(scratch);
      slots.push_back(s);
    }
  }

  void run() const {
    in_parallel(q.layer, threads, q.layer.models, [&](Index k, Index slot) { learn(k, slots[slot]); });
  }

  static const Real *in(const void *pointer) { return static_cast<const Real *>(pointer); }
  static Real *out(void *pointer) { return static_cast<Real *>(pointer); }

  void learn(Index k, const Slot &s) const {
    const Real *weights = in(q.weights) + k * q.weights_model;
    const Index recurrent = 4 * H * D, bias = recurrent + 4 * H * H, head = bias + 4 * H;
    std::memset(s.zeros, 0, B * H * sizeof(Real));
    Problem p = one;
    p.x = in(p.x) + k * p.x_model;
    p.w_ih = weights;
    p.w_hh = weights + recurrent;
    p.bias = weights + bias;
    if (p.input_mask) p.input_mask = in(p.input_mask) + k * p.input_groups * B * D;
    if (p.recurrent_mask) p.recurrent_mask = in(p.recurrent_mask) + k * p.recurrent_groups * B * H;
    p.h_0 = p.c_0 = s.zeros;
    p.y = s.y;
    p.h_n = s.h_n;
    p.c_n = s.c_n;
    p.gates = learns ? s.gates : nullptr;
    p.cells = learns ? s.cells : nullptr;
    p.scratch = s.scratch;
    compute<Forward>(p);
    if (!learns) return read_out<false>(k, s, weights + head, nullptr);
    Real *gradient = out(q.gradient) + k * q.weights_model;
    read_out<true>(k, s, weights + head, gradient + head);
    p.h_n = p.c_n = nullptr;
    p.dh_n = s.dh_n;
    p.dw_ih = gradient;
    p.dw_hh = gradient + recurrent;
    p.dbias = gradient + bias;
    compute<Backward>(p);
  }

  // The head, what its predictions and the last output cost, and if it learns the gradients of that.
  template <bool Learns> void read_out(Index k, const Slot &s, const Real *head, Real *d_head) const {
    const Real *bias = head + O * H, *y = in(q.targets) + k * q.y_model;
    const Real l1 = q.l1 ? in(q.l1)[k] : Real(0), l2 = q.l2 ? in(q.l2)[k] : Real(0);
    if (Learns) std::memset(d_head, 0, (O * H + O) * sizeof(Real));
    Real loss = 0, activity = 0;
    for (Index b = 0; b < B; ++b) {
      const Real *h = s.h_n + b * H;
      Real *dh = Learns ? s.dh_n + b * H : nullptr, *predicted = out(q.predictions) + (k * B + b) * O;
      Real squares = 0, sizes = 0;
      for (Index j = 0; j < H; ++j) {
        const Real sign = Real(h[j] > 0) - Real(h[j] < 0);
        squares += h[j] * h[j];
        sizes += sign * h[j];
        if (Learns) dh[j] = 2 * l2 * h[j] + l1 * sign;
      }
      activity += l2 * squares + l1 * sizes;
      for (Index o = 0; o < O; ++o) {
        predicted[o] = bias[o];
        for (Index j = 0; j < H; ++j) predicted[o] += head[o * H + j] * h[j];
      }
      loss += (q.criteria[k] & 3) == 3 ? entropy(predicted, y + b * O, s.slopes)
                                       : distance(q.criteria[k], predicted, y + b * O, s.slopes);
      if (!Learns) continue;
      for (Index o = 0; o < O; ++o) {
        const Real d = s.slopes[o] / Real(B);
        if (d == 0) continue;
        for (Index j = 0; j < H; ++j) {
          d_head[o * H + j] += d * h[j];
          dh[j] += d * head[o * H + j];
        }
        d_head[O * H + o] += d;
      }
    }
    out(q.losses)[k] = loss / Real(B);
    out(q.activity)[k] = activity;
  }

  // The mean distance of the numbers of a case from those that are there, and its slopes.
  Real distance(Index criterion, const Real *predicted, const Real *wanted, Real *slopes) const {
    const Index kind = criterion & 3;
    const bool may_lack = criterion & 4;
    Index targets = 0;
    for (Index o = 0; o < O; ++o) targets += !may_lack || wanted[o] == wanted[o];
    Real cost = 0;
    for (Index o = 0; o < O; ++o) {
      slopes[o] = 0;
      if (may_lack && wanted[o] != wanted[o]) continue;
      const Real error = predicted[o] - wanted[o], size = error < 0 ? -error : error;
      const Real sign = Real(error > 0) - Real(error < 0);
      const bool squared = kind == 0 || (kind == 2 && size <= 1);
      cost += kind == 0 ? error * error : squared ? Real(0.5) * error * error : kind == 2 ? size - Real(0.5) : size;
      slopes[o] = (kind == 0 ? 2 * error : squared ? error : sign) / Real(targets);
    }
    return targets ? cost / Real(targets) : Real(0);
  }

  // The sum over classes of what is wanted of each times -log of its probability, and its slopes. Where nothing is
  // wanted, the logits are not looked at.
  Real entropy(const Real *logits, const Real *wanted, Real *slopes) const {
    Real total = 0, largest = logits[0], sum = 0, cost = 0;
    for (Index o = 0; o < O; ++o) total += wanted[o];
    std::fill(slopes, slopes + O, Real(0));
    if (total == 0) return 0;
    for (Index o = 1; o < O; ++o) largest = std::max(largest, logits[o]);
    for (Index o = 0; o < O; ++o) sum += slopes[o] = std::exp(logits[o] - largest);
    const Real log_sum = std::log(sum);
    for (Index o = 0; o < O; ++o) {
      cost += wanted[o] * (log_sum + largest - logits[o]);
      slopes[o] = total * slopes[o] / sum - wanted[o];
    }
    return cost;
  }
};

// What Adam remembers, and its step, of one model; all in one pass, where library calls would make ten.
#if defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("O3")))
#endif
void follow_moments(Index count, Real *__restrict weights, const Real *__restrict gradient, Real *__restrict mean,
                    Real *__restrict square, double beta_1, double beta_2, double eps, Real root, Real size) {
  const Real new_1 = 1 - beta_1, new_2 = 1 - beta_2, old_2 = beta_2, epsilon = eps;
  for (Index i = 0; i < count; ++i) {
    const Real g = gradient[i], m = mean[i] + new_1 * (g - mean[i]), s = old_2 * square[i] + new_2 * g * g;
    mean[i] = m;
    square[i] = s;
    weights[i] += size * (m / (std::sqrt(s) / root + epsilon));
  }
}

}  // namespace

extern "C" {

// Each computes a pass; without scratch memory it only returns how many bytes of it are needed.
Index lstmreg_forward(const Problem *p) {
  const Index bytes = compute<Forward>(*p);
  if (p->scratch && p->cost) add_costs(*p);
  return bytes;
}
Index lstmreg_backward(const Problem *p) { return compute<Backward>(*p); }

// Makes masks of uniform random numbers: 0 below the rate, from there on what keeps the mean.
void lstmreg_masks(Real *numbers, Index count, double rate) {
  const Real below = Real(rate), kept = Real(1) / Real(1 - rate);
  for (Index i = 0; i < count; ++i) numbers[i] = numbers[i] >= below ? kept : Real(0);
}

// Both passes of a layer, with a head and a loss between them; likewise.
Index lstmreg_learn(const Lesson *q) {
  Arena arena{static_cast<char *>(q->layer.scratch)};
  const Learning learning(*q, arena);
  if (q->layer.scratch) learning.run();
  return arena.used;
}

// Adam's step of K models of P weights, (K, P) each; `roots (K)` are those of what the second moment has seen so far, and
// `sizes (K)` those of the steps.
void lstmreg_adam(Index models, Index count, Real *weights, const Real *gradient, Real *mean, Real *square,
                  double beta_1, double beta_2, double epsilon, const Real *roots, const Real *sizes) {
  for (Index k = 0, at = 0; k < models; ++k, at += count)
    follow_moments(count, weights + at, gradient + at, mean + at, square + at, beta_1, beta_2, epsilon, roots[k],
                   sizes[k]);
}

// How many numbers a vector has, at most and for some hidden units: rows of `gates` and `cells` are whole vectors.
int lstmreg_lanes() { return kLanes; }
int lstmreg_width(Index hidden) { return width(hidden); }

// Whether it multiplies bfloat16: 0 no, 1 in pairs, 2 in tiles.
int lstmreg_short() {
#ifdef HAS_TILES
  if (std::is_same_v<Real, float> && may_use_tiles()) return 2;
#endif
#ifdef HAS_SHORT
  if (std::is_same_v<Real, float>) return 1;
#endif
  return 0;
}

// Whether y and dy are then Shorts: not of few units, which are multiplied as they are.
int lstmreg_short_results(Index hidden) { return lstmreg_short() && width(hidden) == kLanes; }

// For whoever mirrors Problem and Lesson.
Index lstmreg_problem_size() { return sizeof(Problem); }
Index lstmreg_lesson_size() { return sizeof(Lesson); }
}
