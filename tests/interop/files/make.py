"""Write small LSTM models with Keras 2 or 3, and what this Keras predicts with them.

    python make.py OUTPUT_FOLDER [keras | tf.keras | tf_keras] [MODEL ...]

Each model NAME gives NAME.h5, NAME_weights.h5 (the old layout), NAME.json, and where the version knows them NAME.keras
and NAME.weights.h5; NAME.npz holds the inputs in0, in1, ... and the predictions out0, out1, .... What an old version
cannot do is printed, and the others go on. The archives here hold a selection, made with these:

    keras-2.0.0-tf-1.15 ... keras-2.3.1-tf-1.15
                         Python 3.7:   pip install keras==2.0.0 (...) tensorflow-cpu==1.15.0 h5py==2.10.0 numpy==1.18.5
    tf.keras-tf-1.15     Python 3.7:   pip install tensorflow-cpu==1.15.0 h5py==2.10.0 numpy==1.18.5
    tf.keras-2.4         Python 3.8:   pip install tensorflow-cpu==2.4.4
    keras-2.12-tf-2.12   Python 3.10:  pip install keras==2.12.0 tensorflow-cpu==2.12.1 numpy==1.24.3
    keras-2.15-tf-2.15   Python 3.10:  pip install keras==2.15.0 tensorflow-cpu==2.15.1
    tf_keras-2.18        Python 3.11:  pip install tf-keras==2.18.0 tensorflow-cpu==2.18.1
    keras-3.0.5-torch ... keras-3.15.0-torch
                         Python 3.11:  pip install keras==3.0.5 (...) torch h5py; with KERAS_BACKEND=torch
"""

import importlib
import os
import sys
import zlib
from types import SimpleNamespace

import numpy as np

N, T, F = 4, 5, 3  # samples, time steps, features

# Which Keras it is, is an argument: main sets them.
keras = L = None
KERAS = SimpleNamespace(folder=None, flavour=None, version=None, is_3=None)
MODELS = {}  # name: builder


def attempt(what, write):
    try:
        write()
    except Exception as error:  # noqa: BLE001 - what an old version cannot do is a finding, and not the end
        print(f"{what}: {type(error).__name__}: {str(error)[:160]}")
        if os.path.exists(path(what)):
            os.remove(path(what))  # half a file


def model(f):
    MODELS[f.__name__] = f
    return f


def Input(shape, batch=None, dtype="float32", **kw):
    if batch is None:
        return keras.layers.Input(shape=shape, dtype=dtype, **kw)
    return keras.layers.Input(batch_shape=(batch, *shape), dtype=dtype, **kw)


def Model(inputs, outputs, **kw):
    return keras.models.Model(inputs=inputs, outputs=outputs, **kw)


def sequential(first, *rest, **kw):
    """Sequential of `first(**input shape arguments)` and the layers `rest`."""
    shape, batch, name = kw.pop("shape", (T, F)), kw.pop("batch", None), kw.pop("name", None)
    m = keras.models.Sequential(name=name)
    if KERAS.is_3:
        m.add(Input(shape, batch))
        m.add(first())
    elif batch is None:
        m.add(first(input_shape=shape))
    else:
        m.add(first(batch_input_shape=(batch, *shape)))
    for layer in rest:
        m.add(layer)
    return m


def rng_of(name):
    return np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)


def randomize(m, rng):
    """Random weights; variances positive; a stateful layer's states stay as they are.

    One by one, for in Keras 2 `m.weights` and `m.get_weights()` need not agree in order.
    """
    for var in m.weights:
        name = getattr(var, "path", var.name)
        if "state" in name.rsplit("/", 1)[-1]:
            continue
        shape = tuple(int(n) for n in var.shape)
        value = rng.normal(0, 0.4, shape)
        if "variance" in name:
            value = 0.3 + np.abs(rng.normal(0, 0.8, shape))
        if KERAS.is_3:
            var.assign(value.astype("float32"))
        else:
            keras.backend.set_value(var, value.astype("float32"))


def floats(rng, *shape):
    return rng.normal(0, 1, shape or (N, T, F)).astype("float32")


def masked(rng, value=0.0):
    """Samples with masked steps in front, in the middle, at the end, and in all three."""
    x = floats(rng)
    for sample, steps in enumerate([(0, 1), (2,), (3, 4), (0, 2, 4)]):
        x[sample, list(steps)] = value
    return x


def as_list(x):
    return list(x) if isinstance(x, (list, tuple)) else [x]


def path(name):
    return os.path.join(KERAS.folder, name)


def save(m, name):
    """In every format that this version has."""

    def write_json():
        with open(path(name + ".json"), "w") as f:
            f.write(m.to_json())

    attempt(name + ".h5", lambda: m.save(path(name + ".h5")))
    if not KERAS.is_3:  # which writes weights in the old layout only as part of a model
        attempt(name + "_weights.h5", lambda: m.save_weights(path(name + "_weights.h5")))
    attempt(name + ".json", write_json)
    if KERAS.version >= (2, 12):
        is_first = KERAS.version == (2, 12)  # it writes HDF5 into a .keras file, unless told otherwise
        zipped = {"save_format": "keras_v3"} if is_first else {}
        attempt(name + ".keras", lambda: m.save(path(name + ".keras"), **zipped))
        if is_first:
            attempt(name + "_hdf5.keras", lambda: m.save(path(name + "_hdf5.keras")))
        attempt(name + ".weights.h5", lambda: m.save_weights(path(name + ".weights.h5")))


def arrays(inputs, outputs):
    d = {f"in{i}": x for i, x in enumerate(inputs)}
    d.update({f"out{i}": np.asarray(y, "float32") for i, y in enumerate(outputs)})
    return d


def predict(m, inputs):
    x = inputs if len(inputs) > 1 else inputs[0]
    return as_list(m.predict(x, batch_size=len(inputs[0]), verbose=0))


def finish(m, name, inputs, randomly=True, **extra):
    """Random weights, the files, the predictions."""
    if randomly:
        randomize(m, rng_of(name))
    save(m, name)
    d = arrays(inputs, predict(m, inputs))
    d.update(extra)
    np.savez(path(name + ".npz"), **d)


# ---------------------------------------------------------------- sequential


@model
def seq_defaults(name, rng):
    m = sequential(lambda **k: L.LSTM(4, return_sequences=True, **k), L.LSTM(3), L.Dense(2, activation="softmax"))
    finish(m, name, [floats(rng)])


@model
def seq_knobs(name, rng):
    """Regularizers, constraints, dropout; `loss` is what evaluate gives on in0, y0 in one batch."""
    reg, con = keras.regularizers, keras.constraints
    l1_l2 = reg.L1L2 if hasattr(reg, "L1L2") else reg.l1_l2
    m = sequential(
        lambda **k: L.LSTM(
            4,
            return_sequences=True,
            kernel_regularizer=reg.l1(0.01),
            recurrent_regularizer=reg.l2(0.02),
            bias_regularizer=l1_l2(l1=0.003, l2=0.004),
            activity_regularizer=reg.l2(0.05),
            kernel_constraint=con.max_norm(2.0),
            recurrent_constraint=con.unit_norm(),
            bias_constraint=con.non_neg(),
            kernel_initializer="he_normal",
            recurrent_initializer="glorot_uniform",
            bias_initializer="ones",
            dropout=0.2,
            recurrent_dropout=0.3,
            unit_forget_bias=False,
            **k,
        ),
        L.LSTM(
            3,
            use_bias=False,
            activation="softsign",
            recurrent_activation="sigmoid",
            dropout=0.25,
            kernel_constraint=con.min_max_norm(min_value=0.5, max_value=1.5, rate=0.9, axis=0),
            implementation=2,
        )
        if not KERAS.is_3
        else L.LSTM(
            3,
            use_bias=False,
            activation="softsign",
            recurrent_activation="sigmoid",
            dropout=0.25,
            kernel_constraint=con.MinMaxNorm(min_value=0.5, max_value=1.5, rate=0.9, axis=0),
        ),
        L.Dense(2, kernel_regularizer=reg.l2(0.03), activity_regularizer=reg.l1(0.07), bias_constraint=con.non_neg()),
    )
    m.compile(loss="mse", optimizer="sgd")
    randomize(m, rng_of(name))
    x, y = floats(rng), floats(rng, N, 2)
    loss = m.evaluate(x, y, batch_size=N, verbose=0)
    finish(
        m,
        name,
        [x],
        randomly=False,
        y0=y,
        loss=np.float32(loss),
        loss_half_batches=np.float32(m.evaluate(x, y, batch_size=N // 2, verbose=0)),
    )


@model
def activity_only(name, rng):
    """An activity regularizer alone: `loss` less mean squared error (`mse`) is its value."""
    m = sequential(lambda **k: L.LSTM(3, return_sequences=True, activity_regularizer=keras.regularizers.l2(0.5), **k))
    m.compile(loss="mse", optimizer="sgd")
    randomize(m, rng_of(name))
    x = floats(rng)
    y = predict(m, [x])[0]
    loss = m.evaluate(x, y + 1, batch_size=N, verbose=0)
    finish(
        m,
        name,
        [x],
        randomly=False,
        y0=y + 1,
        loss=np.float32(loss),
        mse=np.float32(1),
        sum_of_squares=np.float32((y.astype("float64") ** 2).sum()),
    )


@model
def seq_hard_sigmoid(name, rng):
    m = sequential(
        lambda **k: L.LSTM(4, recurrent_activation="hard_sigmoid", activation="relu", return_sequences=True, **k),
        L.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True),
        L.Activation("hard_sigmoid"),
        L.LSTM(3, recurrent_activation="hard_sigmoid", activation="linear"),
        L.Dense(2),
        L.Activation("hard_sigmoid"),
    )
    finish(m, name, [3 * floats(rng)])


@model
def activations(name, rng):
    """Every activation that it knows by name, one output each, on -4 ... 4."""
    wanted = [
        "elu",
        "selu",
        "softplus",
        "softsign",
        "relu",
        "tanh",
        "sigmoid",
        "hard_sigmoid",
        "linear",
        "softmax",
        "exponential",
        "swish",
        "gelu",
        "leaky_relu",
        "silu",
        "mish",
        "relu6",
        "hard_silu",
        "log_softmax",
        "celu",
        "glu",
        "hard_tanh",
        "hard_shrink",
        "log_sigmoid",
        "soft_shrink",
        "sparse_plus",
        "sparse_sigmoid",
        "squareplus",
        "tanh_shrink",
        "sparsemax",
    ]
    known = []
    for a in wanted:
        attempt(name + " " + a, lambda a=a: known.append(a) if keras.activations.get(a) else None)
    inputs = Input((8,))
    m = Model([inputs], [L.Activation(a, name="act_" + a)(inputs) for a in known])
    x = np.linspace(-4, 4, 32).astype("float32").reshape(4, 8)
    finish(m, name, [x])


@model
def activation_layers(name, rng):
    inputs = Input((8,))
    made = [
        L.LeakyReLU(name="leaky_default"),
        L.ELU(name="elu_default"),
        L.ELU(0.5, name="elu_half"),
        L.PReLU(name="prelu"),
    ]
    for make in (
        lambda: L.LeakyReLU(0.1, name="leaky_tenth"),
        lambda: L.ThresholdedReLU(0.7, name="thresholded"),
        lambda: L.Softmax(name="softmax_layer"),
        lambda: L.ReLU(max_value=2.0, name="relu_max"),
    ):
        attempt(name, lambda make=make: made.append(make()))
    m = Model([inputs], [layer(inputs) for layer in made])
    finish(m, name, [np.linspace(-4, 4, 32).astype("float32").reshape(4, 8)])


@model
def seq_masking(name, rng):
    m = sequential(lambda **k: L.Masking(0.0, **k), L.LSTM(4, return_sequences=True), L.LSTM(3), L.Dense(2))
    finish(m, name, [masked(rng)])


@model
def seq_masking_sequences(name, rng):
    """Masked steps seen from outside: Masking(-1) and an LSTM that returns every step."""
    m = sequential(lambda **k: L.Masking(mask_value=-1.0, **k), L.LSTM(4, return_sequences=True))
    finish(m, name, [masked(rng, -1.0)])


@model
def embedding(name, rng):
    m = keras.models.Sequential()
    if KERAS.is_3:
        m.add(Input((T,), dtype="int32"))
        m.add(L.Embedding(11, 4, mask_zero=True))
    else:
        m.add(L.Embedding(11, 4, mask_zero=True, input_length=T))
    for layer in (
        L.SpatialDropout1D(0.2),
        L.Bidirectional(L.LSTM(3)),
        L.Dropout(0.5),
        L.Dense(2, activation="softmax"),
    ):
        m.add(layer)
    x = rng.randint(1, 11, (N, T))
    x[0, 3:] = 0
    x[1, :2] = 0
    x[2, 2] = 0
    finish(m, name, [x.astype("int32")])


@model
def go_backwards(name, rng):
    m = sequential(
        lambda **k: L.LSTM(4, go_backwards=True, return_sequences=True, **k), L.LSTM(3, go_backwards=True), L.Dense(2)
    )
    finish(m, name, [floats(rng)])


@model
def stateful(name, rng):
    """out0, then out0_second on the same input; stateful_used was saved between the two, and gives out0 again."""
    m = sequential(
        lambda **k: L.LSTM(4, stateful=True, return_sequences=True, **k),
        L.LSTM(3, stateful=True),
        L.Dense(2),
        batch=2,
    )
    randomize(m, rng_of(name))
    save(m, name)
    x = floats(rng, 2, T, F)
    first = predict(m, [x])[0]
    save(m, name + "_used")
    second = predict(m, [x])[0]
    np.savez(path(name + ".npz"), in0=x, out0=first, out0_second=second)
    again = keras.models.load_model(path(name + "_used.h5"), compile=False)
    np.savez(path(name + "_used.npz"), in0=x, out0=predict(again, [x])[0])


@model
def compiled(name, rng):
    """Compiled and fitted for a few steps, so that the file holds an optimizer's state."""
    rate = "learning_rate" if KERAS.is_3 or KERAS.version >= (2, 4) else "lr"
    for opt in ("adam", "rmsprop", "sgd_momentum"):
        m = sequential(lambda **k: L.LSTM(4, dropout=0.1, **k), L.Dense(2))
        optimizer = opt if opt != "sgd_momentum" else keras.optimizers.SGD(momentum=0.9, nesterov=True, **{rate: 0.01})
        m.compile(loss="mse", optimizer=optimizer, metrics=["mae"])
        n = f"{name}_{opt}"
        randomize(m, rng_of(n))
        x, y = floats(rng), floats(rng, N, 2)
        m.fit(x, y, batch_size=2, epochs=2, verbose=0)
        finish(m, n, [x], randomly=False)


# ------------------------------------------------------------- bidirectional


def two_ways(mode, sequences, mask):
    def both(**k):
        return L.Bidirectional(L.LSTM(3, return_sequences=sequences), merge_mode=mode, **k)

    return sequential(lambda **k: L.Masking(0.0, **k), both()) if mask else sequential(both)


@model
def bidirectional(name, rng):
    for mode in ("concat", "sum", "ave", "mul"):
        for sequences in (True, False):
            for mask in (False, True):
                n = f"bidir_{mode}_{'sequences' if sequences else 'last'}{'_masked' if mask else ''}"
                finish(two_ways(mode, sequences, mask), n, [masked(rng) if mask else floats(rng)])


@model
def bidir_stack_masked(name, rng):
    """Two Bidirectionals behind a Masking, each returning sequences, then a plain LSTM."""
    m = sequential(
        lambda **k: L.Masking(0.0, **k),
        L.Bidirectional(L.LSTM(3, return_sequences=True)),
        L.Bidirectional(L.LSTM(2, return_sequences=True), merge_mode="sum"),
        L.LSTM(3),
        L.Dense(2),
    )
    finish(m, name, [masked(rng)])


@model
def bidir_none(name, rng):
    """merge_mode=None: two outputs."""
    i = Input((T, F))
    a, b = L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode=None)(i)
    finish(Model([i], [a, b]), name, [floats(rng)])


@model
def bidir_backward_layer(name, rng):
    """A backward layer of its own (TensorFlow 2.0 onwards)."""
    m = sequential(
        lambda **k: L.Bidirectional(
            L.LSTM(3, return_sequences=True),
            merge_mode="concat",
            backward_layer=L.LSTM(2, return_sequences=True, go_backwards=True, activation="relu"),
            **k,
        )
    )
    finish(m, name, [floats(rng)])


# ---------------------------------------------------------------- functional


@model
def functional(name, rng):
    a, b = Input((T, F), name="left"), Input((T, 2), name="right")
    x = L.LSTM(4, return_sequences=True, name="lstm_left")(a)
    y = L.LSTM(4, name="lstm_right")(b)
    x = L.BatchNormalization(name="norm_batch")(x)
    if hasattr(L, "LayerNormalization"):
        x = L.LayerNormalization(name="norm_layer")(x)
    x = L.TimeDistributed(L.Dense(3, activation="tanh"), name="each_step")(x)
    y = L.RepeatVector(T, name="repeat")(y)
    z = L.concatenate([x, y], name="join")
    top, mean = L.GlobalMaxPooling1D(name="top")(z), L.GlobalAveragePooling1D(name="mean")(z)
    flat = L.Flatten(name="flat")(L.Reshape((7, T), name="reshape")(z))
    out0 = L.Dense(2, activation="softmax", name="out_a")(L.concatenate([top, mean, flat], name="join_all"))
    out1 = L.LSTM(2, return_sequences=True, name="out_b")(z)
    finish(Model([a, b], [out0, out1]), name, [floats(rng), floats(rng, N, T, 2)])


@model
def merges(name, rng):
    a, b = Input((F,), name="left"), Input((F,), name="right")
    outs = [f([a, b]) for f in (L.add, L.multiply, L.average, L.maximum)]
    outs.append(L.dot([a, b], axes=1, normalize=True))
    outs += [getattr(L, f)([a, b]) for f in ("subtract", "minimum") if hasattr(L, f)]
    m = Model([a, b], outs)
    finish(m, name, [floats(rng, N, F), floats(rng, N, F)])


@model
def batchnorm_axes(name, rng):
    """BatchNormalization over axis 1, without centre, without scale."""
    m = sequential(
        lambda **k: L.BatchNormalization(axis=1, epsilon=0.01, momentum=0.9, **k),
        L.BatchNormalization(center=False),
        L.BatchNormalization(scale=False),
        L.LSTM(3),
    )
    finish(m, name, [floats(rng)])


@model
def shared(name, rng):
    """One LSTM and one Dense used twice each."""
    a, b = Input((T, F), name="first"), Input((T, F), name="second")
    lstm, dense = L.LSTM(4, name="both"), L.Dense(2, name="head")
    finish(Model([a, b], [dense(lstm(a)), dense(lstm(b))]), name, [floats(rng), floats(rng)])


@model
def timedistributed_masked(name, rng):
    m = sequential(
        lambda **k: L.Masking(0.0, **k), L.TimeDistributed(L.Dense(3)), L.Activation("relu"), L.Dropout(0.3), L.LSTM(3)
    )
    finish(m, name, [masked(rng)])


@model
def encoder_decoder(name, rng):
    a, b = Input((T, F), name="source"), Input((T, 2), name="target")
    _, h, c = L.LSTM(4, return_state=True, name="encoder")(a)
    y = L.LSTM(4, return_sequences=True, name="decoder")(b, initial_state=[h, c])
    finish(Model([a, b], L.Dense(2, name="head")(y)), name, [floats(rng), floats(rng, N, T, 2)])


@model
def encoder_decoder_inputs(name, rng):
    """The states come in as model inputs and go out as outputs: a decoder for inference."""
    x, h, c = Input((T, F), name="x"), Input((4,), name="h"), Input((4,), name="c")
    y, h2, c2 = L.LSTM(4, return_sequences=True, return_state=True, name="decoder")(x, initial_state=[h, c])
    finish(Model([x, h, c], [y, h2, c2]), name, [floats(rng), floats(rng, N, 4), floats(rng, N, 4)])


@model
def encoder_decoder_bidirectional(name, rng):
    a, b = Input((T, F), name="source"), Input((T, 2), name="target")
    _, fh, fc, bh, bc = L.Bidirectional(L.LSTM(2, return_state=True), name="encoder")(a)
    h, c = L.concatenate([fh, bh], name="h"), L.concatenate([fc, bc], name="c")
    y = L.LSTM(4, return_sequences=True, name="decoder")(b, initial_state=[h, c])
    finish(Model([a, b], L.Dense(2, name="head")(y)), name, [floats(rng), floats(rng, N, T, 2)])


# --------------------------------------------------------------------- cells


@model
def rnn_cell(name, rng):
    m = sequential(
        lambda **k: L.RNN(L.LSTMCell(4, recurrent_activation="hard_sigmoid"), return_sequences=True, **k),
        L.RNN(L.LSTMCell(3)),
        L.Dense(2),
    )
    finish(m, name, [floats(rng)])


@model
def rnn_cells(name, rng):
    m = sequential(
        lambda **k: L.RNN([L.LSTMCell(4), L.LSTMCell(3, activation="relu")], return_sequences=True, **k), L.Dense(2)
    )
    finish(m, name, [floats(rng)])


# -------------------------------------------------------------------- nested


def encoder_and_decoder():
    enc = sequential(
        lambda **k: L.LSTM(4, return_sequences=True, name="enc_lstm", **k),
        L.BatchNormalization(name="enc_norm"),
        L.LSTM(3, name="enc_last"),
        name="encoder",
    )
    dec = sequential(
        lambda **k: L.RepeatVector(T, name="dec_repeat", **k),
        L.LSTM(3, return_sequences=True, name="dec_lstm"),
        L.BatchNormalization(name="dec_norm"),
        L.TimeDistributed(L.Dense(F), name="dec_out"),
        shape=(3,),
        name="decoder",
    )
    return enc, dec


@model
def nested_sequential(name, rng):
    m = keras.models.Sequential(name="outer")
    for part in encoder_and_decoder():
        m.add(part)
    finish(m, name, [floats(rng)])


@model
def nested_functional(name, rng):
    enc, dec = encoder_and_decoder()
    i = Input((T, F), name="x")
    code = enc(i)
    finish(Model([i], [dec(code), L.Dense(2, name="head")(code)]), name, [floats(rng)])


@model
def nested_frozen(name, rng):
    """The encoder frozen, the decoder not; and a frozen layer inside the decoder."""
    enc, dec = encoder_and_decoder()
    enc.trainable = False
    dec.layers[2].trainable = False
    m = keras.models.Sequential(name="outer")
    m.add(enc)
    m.add(dec)
    finish(m, name, [floats(rng)])


@model
def frozen_layers(name, rng):
    """trainable=False on single layers, a BatchNormalization and a Bidirectional among them."""
    m = sequential(
        lambda **k: L.LSTM(4, return_sequences=True, trainable=False, **k),
        L.BatchNormalization(trainable=False),
        L.Bidirectional(L.LSTM(2), trainable=False),
        L.Dense(2),
    )
    finish(m, name, [floats(rng)])


@model
def nested_twice(name, rng):
    """A functional model inside a functional model inside a functional model, the innermost used twice."""
    i = Input((T, F), name="inner_x")
    inner = Model([i], L.BatchNormalization(name="inner_norm")(L.LSTM(3, name="inner_lstm")(i)), name="inner")
    a, b = Input((T, F), name="mid_a"), Input((T, F), name="mid_b")
    mid = Model([a, b], L.concatenate([inner(a), inner(b)], name="mid_join"), name="mid")
    x, y = Input((T, F), name="x"), Input((T, F), name="y")
    finish(Model([x, y], L.Dense(2, name="head")(mid([x, y])), name="outer"), name, [floats(rng), floats(rng)])


# --------------------------------------------------------------------- cuDNN


def place_only_what_runs():
    """TensorFlow 1 would refuse the whole graph for want of a CudnnRNN kernel, even to save its weights."""
    try:
        import tensorflow as tf
    except ImportError:
        return
    if tf.__version__.startswith("1."):
        options = tf.compat.v1.GraphOptions(place_pruned_graph=True)
        backend = keras.backend if hasattr(keras.backend, "set_session") else tf.compat.v1.keras.backend
        backend.set_session(tf.compat.v1.Session(config=tf.compat.v1.ConfigProto(graph_options=options)))


def cudnn_class():
    if hasattr(L, "CuDNNLSTM"):
        return L.CuDNNLSTM
    if KERAS.is_3 or (KERAS.flavour == "keras" and KERAS.version < (2, 4)):  # not there yet (before 2.0.9), or no more
        return None
    if KERAS.flavour == "tf_keras":
        return importlib.import_module("tf_keras.src.layers.rnn.cudnn_lstm").CuDNNLSTM
    import tensorflow as tf

    return tf.compat.v1.keras.layers.CuDNNLSTM


@model
def cudnn(name, rng):
    """CuDNNLSTM files. Outputs: of this version's own conversion of the file into plain LSTMs."""
    CuDNN = cudnn_class()
    if CuDNN is None:
        return
    place_only_what_runs()

    def plain(units, **kw):
        return L.LSTM(units, recurrent_activation="sigmoid", **kw)

    def stack(lstm):
        return sequential(lambda **k: lstm(4, return_sequences=True, **k), lstm(3), L.Dense(2))

    def two_way(lstm):
        return sequential(
            lambda **k: L.Bidirectional(lstm(3, return_sequences=True), **k),
            L.Bidirectional(lstm(2), merge_mode="sum"),
            L.Dense(2),
        )

    def inside(lstm):
        enc = sequential(lambda **k: lstm(4, return_sequences=True, **k), L.Bidirectional(lstm(3)), name="encoder")
        i = Input((T, F), name="x")
        return Model([i], L.Dense(2, name="head")(enc(i)))

    def finish_both(n, build):
        m = build(CuDNN)
        randomize(m, rng_of(n))
        save(m, n)
        converted = build(plain)
        converted.load_weights(path(n + "_weights.h5"))
        x = floats(rng)
        finish(converted, n + "_converted", [x], randomly=False)
        np.savez(path(n + ".npz"), **arrays([x], predict(converted, [x])))

    for n, build in (("cudnn", stack), ("cudnn_bidirectional", two_way), ("cudnn_nested", inside)):
        attempt(n, lambda n=n, build=build: finish_both(n, build))


def main():
    global keras, L
    KERAS.folder, KERAS.flavour, *only = [*sys.argv[1:], "keras"] if len(sys.argv) == 2 else sys.argv[1:]
    keras = importlib.import_module("tensorflow").keras if KERAS.flavour == "tf.keras" else None
    keras = keras or importlib.import_module(KERAS.flavour)
    L = keras.layers
    KERAS.version = tuple(int(part) for part in keras.__version__.split("-")[0].split(".")[:2])
    KERAS.is_3 = KERAS.version[0] >= 3
    os.makedirs(KERAS.folder, exist_ok=True)
    for name, build in MODELS.items():
        if not only or name in only:
            keras.backend.clear_session()
            attempt(name, lambda build=build, name=name: build(name, rng_of(name + " data")))


if __name__ == "__main__":
    main()
