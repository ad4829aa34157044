// Stithy's engine: everything that a program needs to build graphs, differentiate them and train on a GPU.
#pragma once

#include "engine/core/array.h"
#include "engine/core/error.h"
#include "engine/graph/autograd.h"
#include "engine/graph/device.h"
#include "engine/graph/program.h"
#include "engine/graph/tensor.h"
#include "engine/graph/variable.h"
#include "engine/ops.h"
#include "engine/ops_sequence.h"
#include "engine/ops_vision.h"
