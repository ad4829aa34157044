#include "nn/models/bert.h"

#include "engine/core/error.h"
#include "nn/attention.h"
#include "nn/models/blocks.h"

namespace stithy::nn {

namespace {

// The words' embeddings and all that is multiplied begin as the options say; the padding's row is zero.
void initialize(const Module& model, const BertOptions& options) {
  init_linears_normal(model, options.initializer_range, true);
  for (auto& [name, variable] : model.named_parameters())
    if (name.ends_with("word_embeddings.weight")) {
      Array rows = variable.value();
      for (int64_t i = 0; i < options.size; ++i) rows.set(options.padding * options.size + i, 0);
      variable.set(rows);
    }
}

// x + dropout(dense(y)), normalised.
struct Residual : Module {
  Residual(int64_t in, const BertOptions& o)
      : dense(child("dense", Linear(in, o.size))),
        norm(child("LayerNorm", LayerNorm(o.size, o.epsilon))),
        dropout(child("dropout", Dropout(o.dropout))) {}
  Tensor forward(const Tensor& x, const Tensor& y) { return norm(x + dropout(dense(y))); }
  Child<Linear> dense;
  Child<LayerNorm> norm;
  Child<Dropout> dropout;
};

struct SelfAttention : Module {
  explicit SelfAttention(const BertOptions& o)
      : heads(o.heads),
        dropout(o.attention_dropout),
        query(child("query", Linear(o.size, o.size))),
        key(child("key", Linear(o.size, o.size))),
        value(child("value", Linear(o.size, o.size))) {}
  Tensor forward(const Tensor& x, const Tensor& lengths) {
    const auto split = [&](const Tensor& y) {
      return transpose(reshape(y, {x.dim(0), x.dim(1), heads, -1}), 1, 2);
    };
    const Tensor y = attend(split(query(x)), split(key(x)), split(value(x)),
                            {.dropout = training() ? dropout : 0, .lengths = lengths});
    return reshape(transpose(y, 1, 2), x.shape());
  }
  int64_t heads;
  float dropout;
  Child<Linear> query, key, value;
};

struct Attention : Module {
  explicit Attention(const BertOptions& o)
      : self(child("self", SelfAttention(o))), output(child("output", Residual(o.size, o))) {}
  Tensor forward(const Tensor& x, const Tensor& lengths) { return output(x, self(x, lengths)); }
  Child<SelfAttention> self;
  Child<Residual> output;
};

// A Linear called "dense" and what follows it.
struct Dense : Module {
  Dense(int64_t in, int64_t out) : dense(child("dense", Linear(in, out))) {}
  Child<Linear> dense;
};
struct Intermediate : Dense {
  using Dense::Dense;
  Tensor forward(const Tensor& x) override { return gelu(dense(x)); }
};
struct Transform : Dense {
  explicit Transform(const BertOptions& o)
      : Dense(o.size, o.size), norm(child("LayerNorm", LayerNorm(o.size, o.epsilon))) {}
  Tensor forward(const Tensor& x) override { return norm(gelu(dense(x))); }
  Child<LayerNorm> norm;
};

struct Layer : Module {
  explicit Layer(const BertOptions& o)
      : attention(child("attention", Attention(o))),
        intermediate(child("intermediate", Intermediate(o.size, o.hidden))),
        output(child("output", Residual(o.hidden, o))) {}
  Tensor forward(const Tensor& x, const Tensor& lengths) {
    const Tensor y = attention(x, lengths);
    return output(y, intermediate(y));
  }
  Child<Attention> attention;
  Child<Intermediate> intermediate;
  Child<Residual> output;
};
struct LayerList : Module {
  explicit LayerList(const BertOptions& o) {
    for (int64_t i = 0; i < o.layers; ++i) layers.push_back(child(std::to_string(i), Layer(o)));
  }
  Tensor forward(const Tensor& x, const Tensor& lengths) {
    Tensor y = x;
    for (const Child<Layer>& layer : layers) y = layer(y, lengths);
    return y;
  }
  std::vector<Child<Layer>> layers;
};

}  // namespace

struct BertModel::Embeddings : Module {
  explicit Embeddings(const BertOptions& o)
      : words(child("word_embeddings", Embedding(o.vocabulary, o.size, o.padding))),
        positions(child("position_embeddings", Embedding(o.positions, o.size))),
        types(child("token_type_embeddings", Embedding(o.types, o.size))),
        norm(child("LayerNorm", LayerNorm(o.size, o.epsilon))),
        dropout(child("dropout", Dropout(o.dropout))) {}
  Tensor forward(const BertInputs& x) {
    const Tensor of_types = x.types.defined() ? types(x.types) : slice(types->weight, 0, 0, 1);
    return dropout(norm(words(x.ids) + of_types + slice(positions->weight, 0, 0, x.ids.dim(1))));
  }
  Child<Embedding> words, positions, types;
  Child<LayerNorm> norm;
  Child<Dropout> dropout;
};

struct BertModel::Layers : Module {
  explicit Layers(const BertOptions& o) : layer(child("layer", LayerList(o))) {}
  Tensor forward(const Tensor& x, const Tensor& lengths) { return layer(x, lengths); }
  Child<LayerList> layer;
};

struct BertModel::Pooler : Dense {
  explicit Pooler(int64_t size) : Dense(size, size) {}
  Tensor forward(const Tensor& states) override { return tanh(dense(squeeze(slice(states, 1, 0, 1), 1))); }
};

BertModel::BertModel(const BertOptions& options, bool pooler) : options_(options) {
  check_sizes("BertModel", {options.vocabulary, options.positions, options.types, options.size,
                            options.layers, options.heads, options.hidden});
  if (options.size % options.heads != 0)
    throw Error("BertModel", cat(options.heads, " heads do not divide the size ", options.size));
  if (!(options.attention_dropout >= 0 && options.attention_dropout < 1))
    throw Error("BertModel", cat("attention_dropout ", options.attention_dropout, " is not in [0, 1)"));
  embeddings_ = child("embeddings", Embeddings(options));
  encoder_ = child("encoder", Layers(options));
  if (pooler) pooler_ = child("pooler", Pooler(options.size));
  initialize(*this, options);
}

Tensor BertModel::forward(const BertInputs& x) {
  if (x.ids.rank() != 2 || x.ids.dim(1) > options_.positions)
    throw Error(describe(),
                cat("the ids' shape is ", x.ids.shape(), ", not [n, t] with t up to ", options_.positions),
                "cut the texts, or give the model more positions");
  return encoder_(embeddings_(x), x.lengths);
}

Tensor BertModel::pooled(const Tensor& states) {
  if (!pooler_) throw Error(describe(), "has no pooler");
  return pooler_(states);
}

std::string BertModel::describe() const {
  return cat("BertModel(", options_.size, ", ", options_.layers, " layers)");
}

BertModel BertModel::with_pooler(bool on) const {
  BertModel model(*this);
  if (on && !pooler_) {
    model.pooler_ = model.child("pooler", Pooler(options_.size));
    init_linears_normal(*model.pooler_, options_.initializer_range);
  } else if (!on && pooler_) {
    model.remove_child("pooler");
    model.pooler_ = {};
  }
  return model;
}

const Variable& BertModel::word_embeddings() const { return embeddings_->words->weight; }

struct BertForMaskedLM::Predictions : Module {
  explicit Predictions(const BertOptions& o) {
    bias = parameter("bias", Array({o.vocabulary}, DType::f32));
    transform = child("transform", Transform(o));
  }
  Tensor forward(const Tensor& states, const Tensor& words) {
    return matmul(transform(states), transpose(words)) + bias;
  }
  Variable bias;
  Child<Transform> transform;
};
struct BertForMaskedLM::Heads : Module {
  explicit Heads(const BertOptions& o) : predictions(child("predictions", Predictions(o))) {}
  Tensor forward(const Tensor& states, const Tensor& words) { return predictions(states, words); }
  Child<Predictions> predictions;
};

BertForMaskedLM::BertForMaskedLM(const BertOptions& options) : BertForMaskedLM(BertModel(options, false)) {}
BertForMaskedLM::BertForMaskedLM(const BertModel& model)
    : bert(child("bert", model.with_pooler(false))), cls_(child("cls", Heads(model.options()))) {
  init_linears_normal(*cls_, model.options().initializer_range);
}
Tensor BertForMaskedLM::forward(const BertInputs& x) { return cls_(bert(x), bert->word_embeddings()); }

BertForSequenceClassification::BertForSequenceClassification(const BertOptions& options, int64_t classes)
    : BertForSequenceClassification(BertModel(options), classes) {}
BertForSequenceClassification::BertForSequenceClassification(const BertModel& model, int64_t classes)
    : bert(child("bert", model.with_pooler(true))),
      classifier(child("classifier", Linear(model.options().size, classes))),
      dropout_(child("dropout", Dropout(model.options().dropout))) {
  init_linears_normal(*classifier, model.options().initializer_range);
}
Tensor BertForSequenceClassification::forward(const BertInputs& x) {
  return classifier(dropout_(bert->pooled(bert(x))));
}

BertForQuestionAnswering::BertForQuestionAnswering(const BertOptions& options)
    : BertForQuestionAnswering(BertModel(options, false)) {}
BertForQuestionAnswering::BertForQuestionAnswering(const BertModel& model)
    : bert(child("bert", model.with_pooler(false))),
      qa_outputs(child("qa_outputs", Linear(model.options().size, 2))) {
  init_linears_normal(*qa_outputs, model.options().initializer_range);
}
BertForQuestionAnswering::Outputs BertForQuestionAnswering::forward(const BertInputs& x) {
  const Tensor logits = qa_outputs(bert(x));
  return {squeeze(slice(logits, 2, 0, 1), 2), squeeze(slice(logits, 2, 1, 2), 2)};
}

}  // namespace stithy::nn
