// Every model.
#pragma once

#include "nn/models/bert.h"
#include "nn/models/dcgan.h"
#include "nn/models/efficientnet.h"
#include "nn/models/gpt.h"
#include "nn/models/lenet.h"
#include "nn/models/llama.h"
#include "nn/models/lstm_language_model.h"
#include "nn/models/mobilenet.h"
#include "nn/models/recommender.h"
#include "nn/models/resnet.h"
#include "nn/models/seq2seq.h"
#include "nn/models/text_classifier.h"
#include "nn/models/translator.h"
#include "nn/models/unet.h"
#include "nn/models/vae.h"
#include "nn/models/vgg.h"
