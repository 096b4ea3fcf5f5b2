// One LSTM layer in one direction, forward and backward, for K models at once.
//
// A unit of work is a model and some rows of its batch: it goes through all of time without meeting another
// thread. Inside it, a tile of R rows x 4 gates x N hidden units is multiplied in registers, and the gates of a
// unit become its next cell state and output there, before anything is stored.
//
// Plain C++ with the vector extensions of GCC and Clang; ../fused_cpu.py compiles it and describes the arguments.

#include <atomic>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <thread>
#include <type_traits>
#include <vector>

using Index = std::int64_t;
using Real = REAL;  // float or double, from the command line

extern "C" {

// Tensors lie as fused_cpu.py says; a pointer may be null where the tensor is optional. Mirrored there, in order.
struct Problem {
  Index models, steps, batch, features, hidden;   // K, T, B, D, H
  Index reverse, threads;
  Index input_groups, recurrent_groups;           // masks: 0 none, 1 tied, 4 one per gate
  Index x_model, x_step, x_row;                   // strides, counted in elements
  Index valid_model;
  Index dy_model, dy_step, dy_row;
  const void *x, *h_0, *c_0, *w_ih, *w_hh, *bias, *input_mask, *recurrent_mask;
  const std::uint8_t *valid;
  void *y, *h_n, *c_n, *gates, *cells;
  const void *dy, *dh_n, *dc_n;
  void *dx, *dh_0, *dc_0, *dw_ih, *dw_hh, *dbias;
  void *scratch;
  void (*parallel)(void (*work)(void *), void *data, unsigned threads, unsigned flags);  // GOMP_parallel
};

}  // extern "C"

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kRows = 6, kUnits = 8, kColumns = 3;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32, kRows = 3, kUnits = 4, kColumns = 3;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16, kRows = 6, kUnits = 2, kColumns = 8;
#else
constexpr int kVectorBytes = 16, kRows = 3, kUnits = 2, kColumns = 6;
#endif

constexpr Index kBatch = 64;      // rows that go through time together, at most
constexpr Index kChunkRows = 256; // rows (steps x sequences) whose weight gradients are formed together, about

constexpr Index divide_up(Index n, Index d) { return (n + d - 1) / d; }
constexpr Index round_up(Index n, Index d) { return divide_up(n, d) * d; }

// ------------------------------------------------------------------ vectors

template <class T, int N> struct Lanes {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
};
template <class T, int N> using Vector = typename Lanes<T, N>::type;

template <class V, class T> inline V load(const T *from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class V, class T> inline V load_part(const T *from, Index count) {
  V v = {};
  std::memcpy(&v, from, count * sizeof(T));
  return v;
}

template <class V, class T> inline void store(T *to, V v) { std::memcpy(to, &v, sizeof v); }

template <int N, class V, class T> inline void store_part(T *to, V v, Index count) {
  if (count >= N) std::memcpy(to, &v, sizeof v);
  else std::memcpy(to, &v, count * sizeof(T));
}

// e^y - 1 = scale * rest + (scale - 1), exactly enough near zero for tanh. NaN stays NaN.
template <class V> struct Exponential {
  V scale, rest;
};

template <class T, int N> inline Exponential<Vector<T, N>> exponential(Vector<T, N> y) {
  using V = Vector<T, N>;
  constexpr bool single = std::is_same_v<T, float>;
  using Int = std::conditional_t<single, std::int32_t, std::int64_t>;
  using IV = Vector<Int, N>;
  constexpr T lowest = single ? T(-87) : T(-708), highest = single ? T(88) : T(709);
  constexpr T log2e = T(1.4426950408889634074L);
  // The high part has zeros at its end, so that its product with a small whole number is exact.
  constexpr T ln2_high = single ? T(0.693359375L) : T(0.693147180369123816490L);
  constexpr T ln2_low = single ? T(-2.12194440054690583e-4L) : T(1.90821492927058770002e-10L);
  constexpr T shift = single ? T(12582912) : T(6755399441055744);  // 1.5 * 2^mantissa bits: adding it rounds
  constexpr int mantissa = single ? 23 : 52;
  constexpr Int one = single ? 127 : 1023;

  y = y < lowest ? V{} + lowest : y;
  y = y > highest ? V{} + highest : y;
  const V shifted = y * log2e + shift;
  const V n = shifted - shift;
  const V r = (y - n * ln2_high) - n * ln2_low;
  IV bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  Int shift_bits;
  std::memcpy(&shift_bits, &shift, sizeof shift_bits);
  bits = (bits - (shift_bits - one)) << mantissa;
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

template <class T, int N> inline Vector<T, N> sigmoid(Vector<T, N> x) {
  const auto e = exponential<T, N>(-x);
  return T(1) / ((e.scale * e.rest + e.scale) + T(1));
}

template <class T, int N> inline Vector<T, N> tanh(Vector<T, N> x) {
  using V = Vector<T, N>;
  const auto e = exponential<T, N>(x < T(0) ? x + x : T(-2) * x);
  const V e_minus_1 = e.scale * e.rest + (e.scale - T(1));  // of -2|x|
  const V t = e_minus_1 / (e_minus_1 + T(2));
  return x < T(0) ? t : -t;
}

// ------------------------------------------------------------------ tiles

// A run of products: for each k < count, N x 4 weights, and of each row (and gate) one value.
template <class T> struct Factor {
  const T *weights, *values;
  Index row, gate, count;  // strides of the values
};

// z[r][gate] = start[gate] + sum over k of weights[k][gate] * values[r, gate][k]: the one product of both passes.
template <class T, int N, int R>
[[gnu::noinline]] void multiply(Vector<T, N> (*z)[4], const T *start, std::initializer_list<Factor<T>> factors) {
  using V = Vector<T, N>;
  V acc[R][4];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) acc[r][g] = start ? load<V>(start + g * N) : V{};
  for (const Factor<T> &f : factors) {
    const T *weights = f.weights, *values = f.values;
    for (Index k = 0; k < f.count; ++k, weights += 4 * N, ++values)
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) {
        const V w = load<V>(weights + g * N);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) acc[r][g] += w * values[r * f.row + g * f.gate];
      }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) z[r][g] = acc[r][g];
}

// Calls f(std::integral_constant<int, n>) for an n that is known only when running, 1 <= n <= Most.
template <int Most, class F> inline void with_constant(Index n, F &&f) {
  if constexpr (Most > 1) {
    if (n < Most) return with_constant<Most - 1>(n, f);
  }
  f(std::integral_constant<int, Most>{});
}

template <class T, int N>
void multiply_rows(Index rows, Vector<T, N> (*z)[4], const T *start, std::initializer_list<Factor<T>> factors) {
  with_constant<kRows>(rows, [&](auto R) { multiply<T, N, R.value>(z, start, factors); });
}

// acc[u][c] = sum over rows of left[row][u] * right[row][c].
template <class T, int N, int C>
inline void outer_products(Vector<T, N> (&acc)[kUnits][C], const T *left, Index left_row, const T *right,
                           Index right_row, Index rows) {
  using V = Vector<T, N>;
  for (Index k = 0; k < rows; ++k, left += left_row, right += right_row) {
    V columns[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) columns[c] = load<V>(right + c * N);
#pragma GCC unroll 8
    for (int u = 0; u < kUnits; ++u)
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[u][c] += columns[c] * left[u];
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

template <class T, int N> struct Pass {
  using V = Vector<T, N>;

  const Problem &p;
  Index K = p.models, S = p.steps, B = p.batch, D = p.features, H = p.hidden;
  Index blocks = divide_up(H, N), Hp = blocks * N;
  Index width = Hp + N;          // of a row that is read in columns: not a power of two, which caches dislike
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

  Index time(Index step) const { return p.reverse ? S - 1 - step : step; }

  // Calls f(model, first row, row count, slot) for every chunk of every model.
  template <class F> void for_each_chunk(F &&f) const {
    in_parallel(p, threads, K * chunks, [&](Index unit, Index slot) {
      const Index k = unit / chunks, c = unit % chunks;
      const Index first = B * c / chunks;
      f(k, first, B * (c + 1) / chunks - first, slot);
    });
  }

  bool is_valid(Index k, Index t, Index b) const {
    return !p.valid || p.valid[k * p.valid_model + t * B + b];
  }

  // Copies rows of H values into rows of Hp, with zeros at the end; without a source all is zero.
  void pad_rows(const T *from, T *to, Index count) const {
    for (Index r = 0; r < count; ++r)
      for (Index j = 0; j < Hp; ++j) to[r * Hp + j] = from && j < H ? from[r * H + j] : T(0);
  }

  void unpad_rows(const T *from, T *to, Index count) const {
    for (Index r = 0; r < count; ++r) std::memcpy(to + r * H, from + r * Hp, H * sizeof(T));
  }

  // The masks (G, B, H) of some rows as (G, rows, Hp).
  const T *pad_masks(Index k, Index b, Index n, T *to) const {
    const T *from = static_cast<const T *>(p.recurrent_mask);
    for (Index g = 0; g < p.recurrent_groups; ++g)
      pad_rows(from + ((k * p.recurrent_groups + g) * B + b) * H, to + g * n * Hp, n);
    return to;
  }

  template <class U> static U *typed(void *pointer) { return static_cast<U *>(pointer); }
  static const T *in(const void *pointer) { return static_cast<const T *>(pointer); }
  static T *out(void *pointer) { return static_cast<T *>(pointer); }
};

// ------------------------------------------------------------------ forward

template <class T, int N> struct Forward : Pass<T, N> {
  using Base = Pass<T, N>;
  using typename Base::V;
  using Base::p, Base::K, Base::S, Base::B, Base::D, Base::H, Base::blocks, Base::Hp, Base::width, Base::threads,
      Base::chunks, Base::rows;

  struct Slot {
    T *weights, *x, *h[2], *h_plain, *c, *masks;
  };
  Index weights_size = blocks * (1 + D + H) * 4 * N;  // a row of biases, then D, then H
  Index x_groups = p.input_groups, h_groups = p.recurrent_groups == 4 ? 4 : 1;
  T *shared_weights;
  std::vector<Slot> slots;

  Forward(const Problem &problem, Arena &arena) : Base(problem) {
    shared_weights = chunks > 1 ? arena.take<T>(K * weights_size) : nullptr;
    for (Index i = 0; i < threads; ++i) {
      Slot s;
      s.weights = chunks > 1 ? nullptr : arena.take<T>(weights_size);
      s.x = arena.take<T>(x_groups * rows * (D + N));
      s.h[0] = arena.take<T>(h_groups * rows * width);
      s.h[1] = arena.take<T>(h_groups * rows * width);
      s.h_plain = arena.take<T>(rows * Hp);
      s.c = arena.take<T>(rows * Hp);
      s.masks = arena.take<T>(p.recurrent_groups * rows * Hp);
      slots.push_back(s);
    }
  }

  void run() const {
    if (chunks > 1)
      in_parallel(p, threads, K * blocks, [&](Index i, Index) {
        pack(i / blocks, i % blocks, shared_weights + i / blocks * weights_size);
      });
    this->for_each_chunk([&](Index k, Index first, Index count, Index slot) {
      const Slot &s = slots[slot];
      if (chunks == 1)
        for (Index block = 0; block < blocks; ++block) pack(k, block, s.weights);
      const T *weights = chunks > 1 ? shared_weights + k * weights_size : s.weights;
      in_parts(count, rows, [&](Index b, Index n) { go_through_time(k, first + b, n, s, weights); });
    });
  }

  // Lays the weights of N units out as they are read: for each input, the four gates side by side.
  void pack(Index k, Index block, T *to) const {
    to += block * (1 + D + H) * 4 * N;
    const Index units = H - block * N < N ? H - block * N : N;
    auto column = [&](const T *from, Index row, Index j) {  // from (4H, row)
      for (int g = 0; g < 4; ++g)
        for (Index u = 0; u < N; ++u) *to++ = from && u < units ? from[(g * H + block * N + u) * row + j] : T(0);
    };
    column(p.bias ? this->in(p.bias) + k * 4 * H : nullptr, 1, 0);
    for (Index j = 0; j < D; ++j) column(this->in(p.w_ih) + k * 4 * H * D, D, j);
    for (Index j = 0; j < H; ++j) column(this->in(p.w_hh) + k * 4 * H * H, H, j);
  }

  struct Step {
    const T *x;
    Index x_row, x_gate;
    const T *h;
    T *h_next;
    Index h_gate;
    Index k, t, b;
    bool first;
  };

  void go_through_time(Index k, Index b, Index n, const Slot &s, const T *weights) const {
    const T *masks = this->pad_masks(k, b, n, s.masks);
    this->pad_rows(this->in(p.h_0) + (k * B + b) * H, s.h_plain, n);
    this->pad_rows(this->in(p.c_0) + (k * B + b) * H, s.c, n);
    for (Index r = 0; r < n; ++r)
      for (Index j = 0; j < Hp; j += N) store_masked(s.h[0], masks, n, r, j, load<V>(s.h_plain + r * Hp + j));

    for (Index step = 0; step < S; ++step) {
      const Index t = this->time(step);
      Step now{nullptr, 0, 0, s.h[step % 2], s.h[(step + 1) % 2], p.recurrent_groups == 4 ? n * width : 0, k, t, b,
               step == 0};
      take_input(now, n, s);
      for (Index block = 0; block < blocks; ++block)
        in_parts(n, kRows, [&](Index r, Index count) {
          const T *w = weights + block * (1 + D + H) * 4 * N;
          V z[kRows][4];
          multiply_rows<T, N>(count, z, w,
                              {{w + 4 * N, now.x + r * now.x_row, now.x_row, now.x_gate, D},
                               {w + (1 + D) * 4 * N, now.h + r * width, width, now.h_gate, H}});
          finish_tile(now, block * N, r, count, n, s, masks, z);
        });
    }
    this->unpad_rows(s.h_plain, this->out(p.h_n) + (k * B + b) * H, n);
    this->unpad_rows(s.c, this->out(p.c_n) + (k * B + b) * H, n);
  }

  // Points a step at its input, masked if there are masks.
  void take_input(Step &now, Index n, const Slot &s) const {
    const T *x = this->in(p.x) + now.k * p.x_model + now.t * p.x_step + now.b * p.x_row;
    now.x = x, now.x_row = p.x_row;
    if (x_groups == 0) return;
    const Index row = D + N;
    for (Index g = 0; g < x_groups; ++g)
      for (Index r = 0; r < n; ++r) {
        const T *mask = this->in(p.input_mask) + ((now.k * x_groups + g) * B + now.b + r) * D;
        for (Index j = 0; j < D; ++j) s.x[(g * n + r) * row + j] = x[r * p.x_row + j] * mask[j];
      }
    now.x = s.x, now.x_row = row, now.x_gate = x_groups == 4 ? n * row : 0;
  }

  void store_masked(T *to, const T *masks, Index n, Index r, Index j, V h) const {
    if (p.recurrent_groups == 0) return store(to + r * width + j, h);
    for (Index g = 0; g < p.recurrent_groups; ++g)
      store(to + (g * n + r) * width + j, h * load<V>(masks + (g * n + r) * Hp + j));
  }

  // From the gates of N units of some rows, in registers until here, to all that a step leaves behind.
  [[gnu::noinline]] void finish_tile(const Step &now, Index j, Index r_0, Index count, Index n, const Slot &s,
                                     const T *masks, const V (*z)[4]) const {
    for (Index i = 0; i < count; ++i) {
      const Index r = r_0 + i, row = (now.k * S + now.t) * B + now.b + r;
      const V in_gate = sigmoid<T, N>(z[i][0]), forget = sigmoid<T, N>(z[i][1]);
      const V candidate = tanh<T, N>(z[i][2]), out_gate = sigmoid<T, N>(z[i][3]);
      V c = forget * load<V>(s.c + r * Hp + j) + in_gate * candidate;
      V h = out_gate * tanh<T, N>(c);
      V shown = h;
      if (!this->is_valid(now.k, now.t, now.b + r)) {
        c = load<V>(s.c + r * Hp + j);
        h = load<V>(s.h_plain + r * Hp + j);
        shown = held(now, r, j);
      }
      if (p.gates) {
        T *gates = this->out(p.gates) + row * 4 * Hp + j;
        store(gates, in_gate);
        store(gates + Hp, forget);
        store(gates + 2 * Hp, candidate);
        store(gates + 3 * Hp, out_gate);
        store(this->out(p.cells) + row * Hp + j, c);
      }
      store(s.c + r * Hp + j, c);
      store(s.h_plain + r * Hp + j, h);
      store_part<N>(this->out(p.y) + row * H + j, shown, H - j);
      store_masked(now.h_next, masks, n, r, j, h);
    }
  }

  // What the output shows at a step that is not valid: the output before it.
  V held(const Step &now, Index r, Index j) const {
    if (now.first) return V{};
    const Index before = p.reverse ? now.t + 1 : now.t - 1;
    const T *y = this->out(p.y) + ((now.k * S + before) * B + now.b + r) * H + j;
    return load_part<V>(y, H - j < N ? H - j : N);
  }
};

// ------------------------------------------------------------------ backward

template <class T, int N> struct Backward : Pass<T, N> {
  using Base = Pass<T, N>;
  using typename Base::V;
  using Base::p, Base::K, Base::S, Base::B, Base::D, Base::H, Base::blocks, Base::Hp, Base::width, Base::threads,
      Base::chunks, Base::rows;

  struct Slot {
    T *weights, *dz, *dh, *dc, *d_held, *masks, *inputs;
  };
  Index x_blocks = p.dx ? divide_up(D, N) : 0;
  Index panel = H * 4 * N;                                  // the weights of N columns
  Index weights_size = (blocks + x_blocks) * panel;
  Index dz_row = 4 * Hp + N;
  Index columns = divide_up(D + H, N), input_row = round_up(columns, 2) * N + N;  // of [x, h]: an odd number of vectors
  Index chunk_steps = steps_at_once();
  Index sums_size = 4 * H * input_row + 4 * Hp;             // gradients of [w_ih, w_hh], and of the bias
  Index input_groups = p.input_groups == 4 || p.recurrent_groups == 4 ? 4 : 1;
  T *shared_weights, *sums;
  std::vector<Slot> slots;

  Index steps_at_once() const {
    const Index steps = kChunkRows / rows;
    return steps < 1 ? 1 : steps < S ? steps : S;
  }

  Backward(const Problem &problem, Arena &arena) : Base(problem) {
    shared_weights = chunks > 1 ? arena.take<T>(K * weights_size) : nullptr;
    sums = arena.take<T>((chunks > 1 ? K * chunks : threads) * sums_size);
    for (Index i = 0; i < threads; ++i) {
      Slot s;
      s.weights = chunks > 1 ? nullptr : arena.take<T>(weights_size);
      s.dz = arena.take<T>(chunk_steps * rows * dz_row);
      s.dh = arena.take<T>(rows * Hp);
      s.dc = arena.take<T>(rows * Hp);
      s.d_held = arena.take<T>(rows * Hp);
      s.masks = arena.take<T>(p.recurrent_groups * rows * Hp);
      s.inputs = arena.take<T>(chunk_steps * rows * input_row);
      slots.push_back(s);
    }
  }

  void run() const {
    if (chunks > 1)
      in_parallel(p, threads, K * (blocks + x_blocks), [&](Index i, Index) {
        const Index k = i / (blocks + x_blocks);
        pack(k, i % (blocks + x_blocks), shared_weights + k * weights_size);
      });
    this->for_each_chunk([&](Index k, Index first, Index count, Index slot) {
      const Slot &s = slots[slot];
      if (chunks == 1)
        for (Index block = 0; block < blocks + x_blocks; ++block) pack(k, block, s.weights);
      const T *weights = chunks > 1 ? shared_weights + k * weights_size : s.weights;
      T *sum = sums + (chunks > 1 ? k * chunks + first_chunk(first) : slot) * sums_size;
      std::memset(sum, 0, sums_size * sizeof(T));
      in_parts(count, rows, [&](Index b, Index n) { go_back(k, first + b, n, s, weights, sum); });
      if (chunks == 1) finish(k, 0, 4 * H, sum, 1);
    });
    if (chunks > 1) {
      const Index parts = H < threads ? H : threads;  // any number will do
      in_parallel(p, threads, K * parts, [&](Index i, Index) {
        const Index k = i / parts, part = i % parts;
        finish(k, 4 * H * part / parts, 4 * H * (part + 1) / parts, sums + k * chunks * sums_size, chunks);
      });
    }
  }

  Index first_chunk(Index row) const {
    Index c = row * chunks / B;
    while (B * c / chunks < row) ++c;
    return c;
  }

  // The weights of N columns, for each unit the four gates side by side: of w_hh first, then of w_ih.
  void pack(Index k, Index block, T *to) const {
    to += block * panel;
    const bool of_x = block >= blocks;
    const Index row = of_x ? D : H, first = (of_x ? block - blocks : block) * N;
    const Index count = row - first < N ? row - first : N;
    const T *from = this->in(of_x ? p.w_ih : p.w_hh) + k * 4 * H * row + first;
    for (Index u = 0; u < H; ++u)
      for (int g = 0; g < 4; ++g, to += N) store(to, count == N ? load<V>(from + (g * H + u) * row)
                                                                : load_part<V>(from + (g * H + u) * row, count));
  }

  void go_back(Index k, Index b, Index n, const Slot &s, const T *weights, T *sum) const {
    const T *masks = this->pad_masks(k, b, n, s.masks);
    this->pad_rows(p.dh_n ? this->in(p.dh_n) + (k * B + b) * H : nullptr, s.dh, n);
    this->pad_rows(p.dc_n ? this->in(p.dc_n) + (k * B + b) * H : nullptr, s.dc, n);
    if (p.valid) std::memset(s.d_held, 0, n * Hp * sizeof(T));
    for (Index end = S; end > 0;) {
      const Index begin = end > chunk_steps ? end - chunk_steps : 0;
      for (Index step = end - 1; step >= begin; --step) {
        T *dz = s.dz + (step - begin) * n * dz_row;
        for (Index r = 0; r < n; ++r) row_back(k, step, b, r, s, dz + r * dz_row);
        if (step > 0 || p.dh_0) states_back(k, step, b, n, s, dz, masks, weights);
      }
      if (p.dx) inputs_back(k, begin, end, b, n, s.dz, weights + blocks * panel);
      weights_back(k, begin, end, b, n, s, sum);
      end = begin;
    }
    if (p.dh_0) this->unpad_rows(s.dh, this->out(p.dh_0) + (k * B + b) * H, n);
    if (p.dc_0) this->unpad_rows(s.dc, this->out(p.dc_0) + (k * B + b) * H, n);
  }

  // Back through the gates of one sequence at one step.
  void row_back(Index k, Index step, Index b, Index r, const Slot &s, T *dz) const {
    const Index t = this->time(step), row = (k * S + t) * B + b + r;
    const bool valid = this->is_valid(k, t, b + r);
    const T *gates = this->in(p.gates) + row * 4 * Hp;
    const T *cells = this->in(p.cells) + row * Hp;
    const T *before = step == 0 ? nullptr : this->in(p.cells) + ((k * S + this->time(step - 1)) * B + b + r) * Hp;
    const T *c_0 = this->in(p.c_0) + (k * B + b + r) * H;
    const T *dy = p.dy ? this->in(p.dy) + k * p.dy_model + t * p.dy_step + (b + r) * p.dy_row : nullptr;
    for (Index j = 0; j < Hp; j += N) {
      const Index at = r * Hp + j, count = H - j < N ? H - j : N;
      V dh = load<V>(s.dh + at);
      V dy_here = !dy ? V{} : count == N ? load<V>(dy + j) : load_part<V>(dy + j, count);
      if (p.valid) {
        dy_here += load<V>(s.d_held + at);
        store(s.d_held + at, valid ? V{} : dy_here);
      }
      if (!valid) {
        for (int g = 0; g < 4; ++g) store(dz + g * Hp + j, V{});
        continue;
      }
      dh += dy_here;
      const V i = load<V>(gates + j), f = load<V>(gates + Hp + j), g = load<V>(gates + 2 * Hp + j);
      const V o = load<V>(gates + 3 * Hp + j);
      const V tanh_c = tanh<T, N>(load<V>(cells + j));
      const V c_before = before       ? load<V>(before + j)
                         : count == N ? load<V>(c_0 + j)
                                      : load_part<V>(c_0 + j, count);
      const V dc = load<V>(s.dc + at) + dh * o * (T(1) - tanh_c * tanh_c);
      store(dz + j, dc * g * i * (T(1) - i));
      store(dz + Hp + j, dc * c_before * f * (T(1) - f));
      store(dz + 2 * Hp + j, dc * i * (T(1) - g * g));
      store(dz + 3 * Hp + j, dh * tanh_c * o * (T(1) - o));
      store(s.dc + at, dc * f);
    }
  }

  // The gradient of h before a step, from those of the gates; a held state keeps its own.
  void states_back(Index k, Index step, Index b, Index n, const Slot &s, const T *dz, const T *masks,
                   const T *weights) const {
    const Index t = this->time(step);
    for (Index block = 0; block < blocks; ++block)
      in_parts(n, kRows, [&](Index r_0, Index count) {
        V d[kRows][4];
        multiply_rows<T, N>(count, d, nullptr, {{weights + block * panel, dz + r_0 * dz_row, dz_row, Hp, H}});
        const Index j = block * N;
        for (Index i = 0; i < count; ++i) {
          const Index r = r_0 + i;
          const V dh = over_gates(d[i], p.recurrent_groups, masks + r * Hp + j, n * Hp, N);
          if (this->is_valid(k, t, b + r)) store(s.dh + r * Hp + j, dh);
        }
      });
  }

  // Sums over the gates, each through its mask; `count` values of a mask may be read.
  V over_gates(const V (&d)[4], Index groups, const T *mask, Index next_mask, Index count) const {
    auto read = [&](Index g) { return count >= N ? load<V>(mask + g * next_mask) : load_part<V>(mask + g * next_mask, count); };
    if (groups == 4) return (d[0] * read(0) + d[1] * read(1)) + (d[2] * read(2) + d[3] * read(3));
    const V sum = (d[0] + d[1]) + (d[2] + d[3]);
    return groups == 1 ? sum * read(0) : sum;
  }

  void inputs_back(Index k, Index begin, Index end, Index b, Index n, const T *dz, const T *weights) const {
    const T *mask = this->in(p.input_mask) + (k * p.input_groups * B + b) * D;
    for (Index block = 0; block < x_blocks; ++block)
      in_parts((end - begin) * n, kRows, [&](Index first, Index count) {
        V d[kRows][4];
        multiply_rows<T, N>(count, d, nullptr, {{weights + block * panel, dz + first * dz_row, dz_row, Hp, H}});
        const Index j = block * N;
        for (Index i = 0; i < count; ++i) {
          const Index t = this->time(begin + (first + i) / n), r = (first + i) % n;
          const V dx = over_gates(d[i], p.input_groups, mask + r * D + j, B * D, D - j);
          store_part<N>(this->out(p.dx) + ((k * S + t) * B + b + r) * D + j, dx, D - j);
        }
      });
  }

  void weights_back(Index k, Index begin, Index end, Index b, Index n, const Slot &s, T *sum) const {
    const Index count = (end - begin) * n;
    T *bias = sum + 4 * H * input_row;
    for (Index j = 0; j < 4 * Hp; j += N) {
      V total = load<V>(bias + j);
      for (Index row = 0; row < count; ++row) total += load<V>(s.dz + row * dz_row + j);
      store(bias + j, total);
    }
    for (Index group = 0; group < input_groups; ++group) {
      copy_inputs(k, begin, end, b, n, group, s.inputs);
      in_parts(columns, kColumns, [&](Index column, Index width) {
        with_constant<kColumns>(width, [&](auto C) {
          for (Index g = group; g < (input_groups == 4 ? group + 1 : 4); ++g)
            for (Index u = 0; u < H; u += kUnits) {
              V acc[kUnits][C.value] = {};
              outer_products<T, N, C.value>(acc, s.dz + g * Hp + u, dz_row, s.inputs + column * N, input_row, count);
              T *to = sum + (g * H + u) * input_row + column * N;
              const Index units = H - u < kUnits ? H - u : kUnits;
#pragma GCC unroll 8
              for (int i = 0; i < kUnits; ++i)
                if (i < units)
#pragma GCC unroll 8
                  for (int c = 0; c < C.value; ++c)
                    store(to + i * input_row + c * N, load<V>(to + i * input_row + c * N) + acc[i][c]);
            }
        });
      });
    }
  }

  // Rows [m_x * x, m_h * h before] of some steps, with the masks of one gate. What no gradient meets is zero.
  void copy_inputs(Index k, Index begin, Index end, Index b, Index n, Index group, T *to) const {
    const Index x_group = p.input_groups == 4 ? group : 0, h_group = p.recurrent_groups == 4 ? group : 0;
    for (Index step = begin; step < end; ++step)
      for (Index r = 0; r < n; ++r, to += input_row) {
        const Index t = this->time(step);
        if (!this->is_valid(k, t, b + r)) {
          std::memset(to, 0, columns * N * sizeof(T));
          continue;
        }
        const T *x = this->in(p.x) + k * p.x_model + t * p.x_step + (b + r) * p.x_row;
        copy_masked(x, p.input_mask, (k * p.input_groups + x_group) * B + b + r, D, to);
        copy_masked(output_before(k, step, b + r), p.recurrent_mask, (k * p.recurrent_groups + h_group) * B + b + r, H,
                    to + D);
        for (Index j = D + H; j < columns * N; ++j) to[j] = T(0);
      }
  }

  static void copy_masked(const T *from, const void *masks, Index mask, Index count, T *to) {
    if (!masks) {
      std::memcpy(to, from, count * sizeof(T));
      return;
    }
    const T *m = Base::in(masks) + mask * count;
    for (Index j = 0; j < count; ++j) to[j] = from[j] * m[j];
  }

  // h before a step: the output shown before it, once a step was valid, and h_0 until then.
  const T *output_before(Index k, Index step, Index b) const {
    bool begun = step > 0 && !p.valid;
    for (Index i = step - 1; i >= 0 && !begun; --i) begun = this->is_valid(k, this->time(i), b);
    if (!begun) return this->in(p.h_0) + (k * B + b) * H;
    return this->in(p.y) + ((k * S + this->time(step - 1)) * B + b) * H;
  }

  // Adds up what the chunks of a model's batch found, for some rows of the weights.
  void finish(Index k, Index first, Index last, const T *parts, Index count) const {
    const Index bias = 4 * H * input_row;
    for (Index row = first; row < last; ++row) {
      T *dw_ih = this->out(p.dw_ih) + (k * 4 * H + row) * D, *dw_hh = this->out(p.dw_hh) + (k * 4 * H + row) * H;
      std::memcpy(dw_ih, parts + row * input_row, D * sizeof(T));
      std::memcpy(dw_hh, parts + row * input_row + D, H * sizeof(T));
      const Index in_bias = bias + row / H * Hp + row % H;
      T dbias = parts[in_bias];
      for (Index i = 1; i < count; ++i) {
        const T *part = parts + i * sums_size;
        for (Index j = 0; j < D; ++j) dw_ih[j] += part[row * input_row + j];
        for (Index j = 0; j < H; ++j) dw_hh[j] += part[row * input_row + D + j];
        dbias += part[in_bias];
      }
      if (p.dbias) this->out(p.dbias)[k * 4 * H + row] = dbias;
    }
  }
};

// ------------------------------------------------------------------ the door

template <template <class, int> class P, class T, int N> Index compute(const Problem &p) {
  Arena arena{static_cast<char *>(p.scratch)};
  const P<T, N> pass(p, arena);
  if (p.scratch) pass.run();
  return arena.used;
}

constexpr int kLanes = kVectorBytes / sizeof(Real);

// Vectors of half the length waste less on few units.
template <template <class, int> class P> Index compute(const Problem &p) {
  return p.hidden <= kLanes / 2 ? compute<P, Real, kLanes / 2>(p) : compute<P, Real, kLanes>(p);
}

}  // namespace

extern "C" {

// Each computes a pass; without scratch memory it only returns how many bytes of it are needed.
Index lstmreg_forward(const Problem *p) { return compute<Forward>(*p); }
Index lstmreg_backward(const Problem *p) { return compute<Backward>(*p); }

// How many units a row of `gates` and `cells` has room for.
Index lstmreg_padded(Index hidden) { return round_up(hidden, hidden <= kLanes / 2 ? kLanes / 2 : kLanes); }
}
