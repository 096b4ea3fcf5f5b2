"""Write small LSTM models with Keras 1, and what this Keras predicts with them.

    KERAS_BACKEND=theano python make_keras1.py OUTPUT_FOLDER

Each model NAME gives NAME.h5, NAME_weights.h5 and NAME.json; NAME.npz holds the inputs in0, in1, ... and the
predictions out0, out1, .... What a version cannot do is printed, and the others go on. The archives
keras-1.0.8-theano, keras-1.1.0-theano and keras-1.2.2-theano hold a selection, made with Python 3.7 and

    pip install keras==1.0.8 (1.1.0, 1.2.2) theano==1.0.5 h5py==2.10.0 numpy==1.16.6
"""

import importlib
import os
import sys
import zlib

import numpy as np

keras = L = R = None  # main imports them
N, T, F = 4, 5, 3  # samples, time steps, features
OUT, MODELS = [], []


def model(f):
    MODELS.append(f)
    return f


def rng_of(name):
    return np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)


def randomize(m, rng):
    """Random weights, one by one; the running variances (named running_std) positive."""
    for var in m.weights:
        shape = keras.backend.get_value(var).shape
        value = rng.normal(0, 0.4, shape)
        if "running_std" in var.name:
            value = 0.3 + np.abs(rng.normal(0, 0.8, shape))
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
    return os.path.join(OUT[0], name)


def predict(m, inputs):
    return as_list(m.predict(inputs if len(inputs) > 1 else inputs[0], batch_size=len(inputs[0])))


def save(m, name):
    m.save(path(name + ".h5"), overwrite=True)
    m.save_weights(path(name + "_weights.h5"), overwrite=True)
    with open(path(name + ".json"), "w") as f:
        f.write(m.to_json())


def finish(m, name, inputs, randomly=True, **extra):
    """Random weights, the files, the predictions."""
    if randomly:
        randomize(m, rng_of(name))
    d = {f"in{i}": x for i, x in enumerate(inputs)}
    d.update({f"out{i}": np.asarray(y, "float32") for i, y in enumerate(predict(m, inputs))})
    d.update(extra)
    np.savez(path(name + ".npz"), **d)
    save(m, name)


def part(name, build):
    """One of several files of a builder: its failure does not stop the others."""
    try:
        build()
    except Exception as error:  # noqa: BLE001 - what an old version cannot do is a finding, and not the end
        print(f"{name}: {type(error).__name__}: {str(error)[:160]}")


# ---------------------------------------------------------------- sequential


@model
def seq_defaults(name, rng):
    finish(
        keras.models.Sequential(
            [L.LSTM(4, return_sequences=True, input_shape=(T, F)), L.LSTM(3), L.Dense(2, activation="softmax")]
        ),
        name,
        [floats(rng)],
    )


@model
def seq_consume_less(name, rng):
    """One file for each consume_less, and one that mixes them."""
    for mode in ("cpu", "mem", "gpu"):
        n = "seq_consume_less_" + mode
        finish(
            keras.models.Sequential(
                [
                    L.LSTM(4, return_sequences=True, consume_less=mode, input_dim=F, input_length=T),
                    L.LSTM(3, consume_less=mode),
                    L.Dense(2),
                ]
            ),
            n,
            [floats(rng)],
        )
    finish(
        keras.models.Sequential(
            [
                L.LSTM(4, return_sequences=True, consume_less="gpu", input_shape=(T, F)),
                L.LSTM(3, return_sequences=True, consume_less="mem"),
                L.LSTM(3, consume_less="cpu"),
                L.Dense(2),
            ]
        ),
        name + "_mixed",
        [floats(rng)],
    )


@model
def seq_knobs(name, rng):
    """Every argument of a Keras 1 LSTM set, in each consume_less."""
    for mode in ("cpu", "mem", "gpu"):
        n = "seq_knobs_" + mode

        lstm = L.LSTM(
            4,
            return_sequences=True,
            init="he_normal",
            inner_init="glorot_uniform",
            forget_bias_init="zero",
            activation="softsign",
            inner_activation="sigmoid",
            W_regularizer=R.l1(0.01),
            U_regularizer=R.l2(0.02),
            b_regularizer=R.l1l2(0.003, 0.004),
            dropout_W=0.2,
            dropout_U=0.3,
            consume_less=mode,
            unroll=(mode == "mem"),
            input_shape=(T, F),
        )
        dense = L.Dense(
            2,
            W_regularizer=R.l2(0.03),
            b_regularizer=R.l1(0.01),
            activity_regularizer=R.activity_l1(0.07),
            W_constraint=keras.constraints.maxnorm(2),
            b_constraint=keras.constraints.nonneg(),
        )
        m = keras.models.Sequential([lstm, L.LSTM(3, dropout_W=0.25, consume_less=mode), dense])
        finish(m, n, [floats(rng)])


@model
def regularized(name, rng):
    """``train_loss`` is what train_on_batch reports (learning rate 0) on in0, y0; `test_loss` what evaluate does."""
    for mode in ("cpu", "gpu"):
        n = "regularized_" + mode

        m = keras.models.Sequential(
            [
                L.LSTM(
                    4,
                    W_regularizer=R.l1(0.01),
                    U_regularizer=R.l2(0.5),
                    b_regularizer=R.l2(0.1),
                    consume_less=mode,
                    return_sequences=True,
                    input_shape=(T, F),
                ),
                L.TimeDistributed(L.Dense(2)),
                L.ActivityRegularization(l1=0.02, l2=0.03),
                L.LSTM(3, consume_less=mode),
                L.Dense(2, W_regularizer=R.l2(0.03), activity_regularizer=R.activity_l2(0.07)),
            ]
        )
        m.compile(loss="mse", optimizer=keras.optimizers.SGD(lr=0.0))
        randomize(m, rng_of(n))
        x, y = floats(rng), floats(rng, N, 2)
        finish(
            m,
            n,
            [x],
            randomly=False,
            y0=y,
            train_loss=np.float32(np.ravel(m.train_on_batch(x, y))[0]),
            train_loss_half=np.float32(np.ravel(m.train_on_batch(x[: N // 2], y[: N // 2]))[0]),
            test_loss=np.float32(m.evaluate(x, y, batch_size=N, verbose=0)),
        )


@model
def seq_hard_sigmoid(name, rng):
    finish(
        keras.models.Sequential(
            [
                L.LSTM(
                    4, inner_activation="hard_sigmoid", activation="relu", return_sequences=True, input_shape=(T, F)
                ),
                L.LSTM(4, return_sequences=True),
                L.Activation("hard_sigmoid"),
                L.LSTM(3, activation="linear"),
                L.Dense(2),
                L.Activation("hard_sigmoid"),
            ]
        ),
        name,
        [3 * floats(rng)],
    )


@model
def activations(name, rng):
    known = []
    for a in ("elu", "softplus", "softsign", "relu", "tanh", "sigmoid", "hard_sigmoid", "linear", "softmax"):
        part(name + " " + a, lambda a=a: known.append(a) if keras.activations.get(a) else None)
    i = L.Input((8,))
    finish(
        keras.models.Model(input=[i], output=[L.Activation(a, name="act_" + a)(i) for a in known]),
        name,
        [np.linspace(-4, 4, 32).astype("float32").reshape(4, 8)],
    )


@model
def activation_layers(name, rng):
    i = L.Input((8,))
    made = [
        L.LeakyReLU(name="leaky_default"),
        L.ELU(name="elu_default"),
        L.PReLU(name="prelu"),
        L.ThresholdedReLU(0.7, name="thresholded"),
        L.ParametricSoftplus(name="softplus"),
        L.SReLU(name="srelu"),
    ]
    finish(
        keras.models.Model(input=[i], output=[layer(i) for layer in made]),
        name,
        [np.linspace(-4, 4, 32).astype("float32").reshape(4, 8)],
    )


@model
def seq_masking(name, rng):
    finish(
        keras.models.Sequential(
            [L.Masking(0.0, input_shape=(T, F)), L.LSTM(4, return_sequences=True), L.LSTM(3), L.Dense(2)]
        ),
        name,
        [masked(rng)],
    )
    finish(
        keras.models.Sequential([L.Masking(-1.0, input_shape=(T, F)), L.LSTM(4, return_sequences=True)]),
        name + "_sequences",
        [masked(rng, -1.0)],
    )


@model
def embedding(name, rng):
    for n, kw in ((name, {}), (name + "_dropout", {"dropout": 0.2})):
        x = rng.randint(1, 11, (N, T))
        x[0, 3:] = 0
        x[1, :2] = 0
        x[2, 2] = 0
        finish(
            keras.models.Sequential(
                [L.Embedding(11, 4, mask_zero=True, input_length=T, **kw)]
                + ([L.SpatialDropout1D(0.2)] if hasattr(L, "SpatialDropout1D") and not kw else [])
                + [L.Bidirectional(L.LSTM(3)), L.Dropout(0.5), L.Dense(2, activation="softmax")]
            ),
            n,
            [x.astype("int32")],
        )


@model
def go_backwards(name, rng):
    finish(
        keras.models.Sequential(
            [
                L.LSTM(4, go_backwards=True, return_sequences=True, input_shape=(T, F)),
                L.LSTM(3, go_backwards=True),
                L.Dense(2),
            ]
        ),
        name,
        [floats(rng)],
    )


@model
def stateful(name, rng):
    """out0, then out0_second on the same input."""
    m = keras.models.Sequential(
        [
            L.LSTM(4, stateful=True, return_sequences=True, batch_input_shape=(2, T, F)),
            L.LSTM(3, stateful=True),
            L.Dense(2),
        ]
    )
    randomize(m, rng_of(name))
    save(m, name)
    x = floats(rng, 2, T, F)
    first, second = predict(m, [x])[0], predict(m, [x])[0]
    np.savez(path(name + ".npz"), in0=x, out0=first, out0_second=second)


@model
def compiled(name, rng):
    """Compiled and fitted for a few steps, so the file holds an optimizer's state."""
    for opt in ("adam", "rmsprop", "sgd"):
        n = f"{name}_{opt}"

        m = keras.models.Sequential([L.LSTM(4, dropout_W=0.1, input_shape=(T, F)), L.Dense(2)])
        m.compile(
            loss="mse",
            optimizer=opt if opt != "sgd" else keras.optimizers.SGD(lr=0.01, momentum=0.9, decay=1e-4, nesterov=True),
        )
        randomize(m, rng_of(n))
        x, y = floats(rng), floats(rng, N, 2)
        m.fit(x, y, batch_size=2, nb_epoch=2, verbose=0)
        finish(m, n, [x], randomly=False, y0=y)


# ------------------------------------------------------------- bidirectional


@model
def bidirectional(name, rng):
    for mode in ("concat", "sum", "ave", "mul"):
        for sequences in (True, False):
            for mask in (False, True):
                n = f"bidir_{mode}_{'sequences' if sequences else 'last'}{'_masked' if mask else ''}"

                if mask:
                    m = keras.models.Sequential(
                        [
                            L.Masking(0.0, input_shape=(T, F)),
                            L.Bidirectional(L.LSTM(3, return_sequences=sequences), merge_mode=mode),
                        ]
                    )
                else:
                    m = keras.models.Sequential(
                        [L.Bidirectional(L.LSTM(3, return_sequences=sequences), merge_mode=mode, input_shape=(T, F))]
                    )
                finish(m, n, [masked(rng) if mask else floats(rng)])


@model
def bidir_gpu(name, rng):
    finish(
        keras.models.Sequential(
            [
                L.Bidirectional(L.LSTM(3, return_sequences=True, consume_less="gpu"), input_shape=(T, F)),
                L.Bidirectional(L.LSTM(2), merge_mode="sum"),
            ]
        ),
        name,
        [floats(rng)],
    )


@model
def bidir_named(name, rng):
    """Names given by hand, two Bidirectionals behind a Masking."""
    finish(
        keras.models.Sequential(
            [
                L.Masking(0.0, input_shape=(T, F)),
                L.Bidirectional(L.LSTM(3, return_sequences=True, name="one"), name="both_one"),
                L.Bidirectional(L.LSTM(2, return_sequences=True, name="two"), name="both_two", merge_mode="sum"),
                L.LSTM(3, name="three"),
                L.Dense(2, name="four"),
            ]
        ),
        name,
        [masked(rng)],
    )


# ---------------------------------------------------------------- functional


@model
def functional(name, rng):
    a, b = L.Input((T, F), name="left"), L.Input((T, 2), name="right")
    x = L.LSTM(4, return_sequences=True, name="lstm_left")(a)
    y = L.LSTM(4, name="lstm_right", consume_less="gpu")(b)
    x = L.BatchNormalization(name="norm_batch")(x)
    x = L.TimeDistributed(L.Dense(3, activation="tanh"), name="each_step")(x)
    y = L.RepeatVector(T, name="repeat")(y)
    z = L.merge([x, y], mode="concat", concat_axis=-1, name="join")
    pools = []
    if hasattr(L, "GlobalMaxPooling1D"):
        pools = [L.GlobalMaxPooling1D(name="top")(z), L.GlobalAveragePooling1D(name="mean")(z)]
    flat = L.Flatten(name="flat")(L.Reshape((7, T), name="reshape")(z))
    flat = L.merge([*pools, flat], mode="concat", name="join_all") if pools else flat
    out0 = L.Dense(2, activation="softmax", name="out_a")(flat)
    out1 = L.LSTM(2, return_sequences=True, name="out_b")(z)
    finish(keras.models.Model(input=[a, b], output=[out0, out1]), name, [floats(rng), floats(rng, N, T, 2)])


@model
def merges(name, rng):
    """Every mode of the merge layer."""
    a, b = L.Input((F,), name="left"), L.Input((F,), name="right")
    outs = []
    for mode in ("sum", "mul", "concat", "ave", "max", "dot", "cos"):
        axes = {"dot_axes": 1} if mode in ("dot", "cos") else {}
        outs.append(L.merge([a, b], mode=mode, name="merge_" + mode, **axes))
    finish(keras.models.Model(input=[a, b], output=outs), name, [floats(rng, N, F), floats(rng, N, F)])


@model
def merge_sequential(name, rng):
    """Two Sequential branches under a Merge layer: the common two-branch model of Keras 1."""
    for mode in ("concat", "sum"):
        n = f"{name}_{mode}"

        left = keras.models.Sequential([L.LSTM(4, input_shape=(T, F), name="left_lstm")])
        right = keras.models.Sequential(
            [L.LSTM(4, input_shape=(T, 2), name="right_lstm"), L.BatchNormalization(name="right_norm")]
        )
        m = keras.models.Sequential()
        m.add(L.Merge([left, right], mode=mode))
        m.add(L.Dense(2, activation="softmax", name="head"))
        finish(m, n, [floats(rng), floats(rng, N, T, 2)])


@model
def batchnorm(name, rng):
    for mode in (0, 1, 2):
        n = f"{name}_mode{mode}"
        finish(
            keras.models.Sequential(
                [L.LSTM(4, input_shape=(T, F)), L.BatchNormalization(mode=mode, epsilon=0.01), L.Dense(2)]
            ),
            n,
            [floats(rng)],
        )
    finish(
        keras.models.Sequential(
            [
                L.BatchNormalization(input_shape=(T, F)),
                L.LSTM(4, return_sequences=True),
                L.BatchNormalization(axis=1),
                L.LSTM(3),
            ]
        ),
        name + "_sequences",
        [floats(rng)],
    )


@model
def shared(name, rng):
    a, b = L.Input((T, F), name="first"), L.Input((T, F), name="second")
    lstm, dense = L.LSTM(4, name="both"), L.Dense(2, name="head")
    finish(keras.models.Model(input=[a, b], output=[dense(lstm(a)), dense(lstm(b))]), name, [floats(rng), floats(rng)])


@model
def timedistributed(name, rng):
    finish(
        keras.models.Sequential(
            [
                L.Masking(0.0, input_shape=(T, F)),
                L.TimeDistributed(L.Dense(3)),
                L.Activation("relu"),
                L.Dropout(0.3),
                L.LSTM(3),
            ]
        ),
        name + "_masked",
        [masked(rng)],
    )
    finish(
        keras.models.Sequential(
            [
                L.LSTM(4, return_sequences=True, input_shape=(T, F)),
                L.TimeDistributedDense(3, activation="tanh"),
                L.LSTM(2),
            ]
        ),
        name + "_dense",
        [floats(rng)],
    )


@model
def old_layers(name, rng):
    """Dense layers that Keras 2 dropped: Highway and MaxoutDense."""
    finish(
        keras.models.Sequential(
            [L.LSTM(4, input_shape=(T, F)), L.Highway(activation="tanh"), L.MaxoutDense(3, nb_feature=2)]
        ),
        name,
        [floats(rng)],
    )


# -------------------------------------------------------------------- nested


def norm(units, name):
    """A BatchNormalization; before Keras 1.2 a nested one fails (mode 0 may not be shared), so a Dense instead."""
    if keras.__version__ < "1.2":
        return L.TimeDistributed(L.Dense(units), name=name)
    return L.BatchNormalization(name=name)


def encoder_and_decoder():
    enc = keras.models.Sequential(
        [
            L.LSTM(4, return_sequences=True, name="enc_lstm", input_shape=(T, F)),
            norm(4, "enc_norm"),
            L.LSTM(3, name="enc_last"),
        ],
        name="encoder",
    )
    dec = keras.models.Sequential(
        [
            L.RepeatVector(T, name="dec_repeat", input_shape=(3,)),
            L.LSTM(3, return_sequences=True, name="dec_lstm"),
            norm(3, "dec_norm"),
            L.TimeDistributed(L.Dense(F), name="dec_out"),
        ],
        name="decoder",
    )
    return enc, dec


@model
def nested_sequential(name, rng):
    finish(keras.models.Sequential(list(encoder_and_decoder()), name="outer"), name, [floats(rng)])


@model
def nested_functional(name, rng):
    enc, dec = encoder_and_decoder()
    i = L.Input((T, F), name="x")
    code = enc(i)
    finish(keras.models.Model(input=[i], output=[dec(code), L.Dense(2, name="head")(code)]), name, [floats(rng)])


@model
def nested_frozen(name, rng):
    enc, dec = encoder_and_decoder()
    enc.trainable = False
    dec.layers[2].trainable = False
    finish(keras.models.Sequential([enc, dec], name="outer"), name, [floats(rng)])


@model
def frozen_layers(name, rng):
    finish(
        keras.models.Sequential(
            [
                L.LSTM(4, return_sequences=True, trainable=False, input_shape=(T, F)),
                L.BatchNormalization(trainable=False),
                L.Bidirectional(L.LSTM(2), trainable=False),
                L.Dense(2),
            ]
        ),
        name,
        [floats(rng)],
    )


def main():
    global keras, L, R
    keras = importlib.import_module("keras")
    L, R = keras.layers, keras.regularizers
    importlib.import_module("keras.models")
    OUT.append(sys.argv[1])
    os.makedirs(OUT[0], exist_ok=True)
    for build in MODELS:
        part(build.__name__, lambda build=build: build(build.__name__, rng_of(build.__name__ + " data")))


if __name__ == "__main__":
    main()
