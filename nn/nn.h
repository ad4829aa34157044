// All of nn: what a training program includes.
#pragma once

#include "engine/graph/device.h"
#include "engine/ops.h"
#include "engine/ops_vision.h"
#include "nn/checkpoint.h"
#include "nn/data/dataset.h"
#include "nn/data/loader.h"
#include "nn/fit.h"
#include "nn/init.h"
#include "nn/layers.h"
#include "nn/loss.h"
#include "nn/module.h"
#include "nn/norm.h"
#include "nn/optim/optimizer.h"
#include "nn/schedule.h"
#include "nn/summary.h"
#include "nn/trainer.h"
