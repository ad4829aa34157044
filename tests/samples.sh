#!/usr/bin/env bash
# Every sample learns what it promises: on its own data, and on real data where a folder of it stands beside the checkout
# (or where STITHY_DATA says).
set -u
data=${STITHY_DATA:-${STITHY_SOURCE:?}/../shared/data}
failures=0

# expect COMPARISON METRIC BOUND COMMAND...
expect() {
  local comparison=$1 metric=$2 bound=$3 result value; shift 3
  result=$("$@" --out none 2>&1 | tail -n 1)
  value=$(sed -nE "s/^result .*\b$metric=([0-9.eE+-]+).*/\1/p" <<<"$result")
  echo "${*##*/bin/}: ${result:-no output}"
  [[ $value ]] && awk "BEGIN { exit !($value $comparison $bound) }" && return
  echo "FAILED: $metric is not $comparison $bound"
  failures=$((failures + 1))
}
expect_at_least() { expect ">=" "$@"; }
expect_at_most() { expect "<=" "$@"; }

bin=${STITHY_BUILD:?}/bin
expect_at_least test_accuracy 0.97 "$bin/digits_mlp"
expect_at_least test_accuracy 0.85 "$bin/digits_cnn" --steps 120
expect_at_least test_accuracy 0.02 "$bin/cifar_resnet" --steps 3  # that it runs: learning takes it minutes
if [[ -d $data/mnist ]]; then
  expect_at_least test_accuracy 0.98 "$bin/digits_mlp" --data "$data/mnist" --epochs 10
else
  echo "SKIP: digits_mlp on MNIST: there is no folder $data/mnist"
fi
# The beginning of training, which shows that they learn; the whole of it takes minutes.
expect_at_least psnr_denoised 13.5 "$bin/denoise" --steps 100 --batch 32
expect_at_least auroc 0.8 "$bin/anomaly" --steps 200
expect_at_least test_accuracy 0.6 "$bin/explain" --steps 100 --batch 32 --explained 20
expect_at_least map50 0.03 "$bin/detect" --steps 120 --batch 16
expect_at_least elbo -300 "$bin/vae_digits" --steps 50 --batch 32  # -590 at first
expect_at_least score 1.5 "$bin/gan_digits" --steps 350 --batch 32 --lr 2e-3 --width 8 --latent 16  # 1 at first
expect_at_least test_accuracy 0.6 "$bin/transfer" --epochs 2 --batch 24 --size 32 --width 8  # of two classes
# The ground against all shapes, 0.2 at first; to tell shapes apart takes minutes.
expect_at_least pixel_accuracy 0.7 "$bin/segment" --steps 120 --batch 4 --size 32 --depth 2 --lr 1e-2
expect_at_least accuracy 0.36 "$bin/char_gpt" --steps 120 --width 32 --layers 2  # of the sums' digits, 0.1 to 0.2 at first
expect_at_least accuracy 0.36 "$bin/char_lstm" --steps 120 --width 32 --layers 1
if [[ -d $data/tinyshakespeare ]]; then
  expect_at_most val_loss 3.5 "$bin/char_gpt" --data "$data/tinyshakespeare" --steps 60 --width 32 --layers 1 --length 40  # 4.2 at first
else
  echo "SKIP: char_gpt on a text: there is no folder $data/tinyshakespeare"
fi
expect_at_most val_loss 2.2 "$bin/finetune_lora" --steps 40  # 4.6 before
expect_at_least accuracy 0.85 "$bin/sentiment" --steps 150 --lr 5e-3
expect_at_most val_loss 2 "$bin/names" --steps 100  # 2.24 by bigrams
expect_at_most mse_transformer 0.11 "$bin/forecast" --steps 60 --lr 5e-3  # 0.13 by yesterday
expect_at_most label_error 0.5 "$bin/digits_sequence" --steps 300  # 1 for some 150 steps
expect_at_most rmse_factors 0.75 "$bin/recommend" --epochs 8  # 0.85 by means
expect_at_least exact_match 0.7 "$bin/translate" --steps 150 --size 32 --layers 1 --lr 5e-3
expect_at_least accuracy 0.85 "$bin/bert_mlm" --steps 60  # of two classes; 0.7 from scratch
exit $((failures > 0))
