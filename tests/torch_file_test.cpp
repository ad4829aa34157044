#include "nn/torch_file.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "nn/checkpoint.h"
#include "nn/layers.h"
#include "nn/pickle.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {

std::string golden(const std::string& name) { return STITHY_SOURCE_DIR "/tests/golden/" + name; }

template <size_t N>
std::string raw(const char (&text)[N]) {
  return {text, N - 1};
}
// Little-endian.
std::string word(uint64_t value, size_t bytes = 4) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i);
  return text;
}
Pickle read(const std::string& bytes) {
  return read_pickle(bytes, "x.pkl", [](const std::string& function) { return function == "good.function"; });
}
void refused(const std::string& bytes, const char* reason) {
  CHECK_THROWS_WITH_AS(read(bytes), doctest::Contains(reason), Error);
}

// A legacy file with one tensor: the pickle of `strides` and so on is written by hand.
std::string legacy(const std::string& type, int64_t numel, int64_t offset, const std::string& shape,
                   const std::string& strides, const std::string& data) {
  const auto integer = [](int64_t value) { return "\x8a\x08" + word(static_cast<uint64_t>(value), 8); };
  const auto text = [](const std::string& value) { return "X" + word(value.size()) + value; };
  const std::string id =
      "(" + text("storage") + "ctorch\n" + type + "\n" + text("7") + text("cpu") + integer(numel) + "NtQ";
  const std::string tensor =
      "ctorch._utils\n_rebuild_tensor_v2\n(" + id + integer(offset) + shape + strides + "\x89}tR";
  return raw("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.") + raw("\x80\x02M\xe9\x03.") +
         raw("\x80\x02}.") + "\x80\x02}" + text("w") + tensor + "s." + "\x80\x02](" + text("7") + "e." +
         word(static_cast<uint64_t>(numel), 8) + data;
}
std::string dims(std::vector<int> values) {
  std::string text = "(";
  for (int value : values) text += "J" + word(static_cast<uint32_t>(value));
  return text + "t";
}

}  // namespace

TEST_SUITE("torch_file") {
  TEST_CASE("every type and view, from both formats and deflated") {
    for (const char* name : {"everything.pt", "everything_legacy.pt", "everything_deflated.pt"}) {
      CAPTURE(name);
      const TensorFile file = read_torch(golden(name));
      const auto& t = file.tensors;
      CHECK(t.size() == 16);
      Array base({3, 4}, DType::f32), transposed({4, 3}, DType::f32);
      for (int64_t i = 0; i < 12; ++i) base.set(i, double(i)), transposed.set(i % 4 * 3 + i / 4, double(i));
      CHECK(same_bytes(t.at("f32"), base));
      CHECK(same_bytes(t.at("transposed"), transposed));
      CHECK(same_bytes(t.at("column"), Array({3}, {1, 5, 9})));
      CHECK(same_bytes(t.at("expanded"), Array({2, 3}, {5, 5, 5, 5, 5, 5})));
      CHECK(same_bytes(t.at("f64"), Array({2}, {0.1f, -3})));
      CHECK(same_bytes(t.at("f16"), Array({2}, {1.5, -2}).to(DType::f16)));
      CHECK(same_bytes(t.at("bf16"), Array({2}, {1.5, -2}).to(DType::bf16)));
      CHECK(t.at("i64").dtype() == DType::i32);
      CHECK(t.at("i64").values<int32_t>()[0] == -2147483647 - 1);
      CHECK(t.at("i64").values<int32_t>()[1] == 7);
      CHECK(t.at("i32").values<int32_t>()[0] == -5);
      CHECK(t.at("i16").values<int32_t>()[0] == -300);
      CHECK(t.at("i8").values<int32_t>()[0] == -128);
      CHECK(same_bytes(t.at("u8"), Array({1}, {255}).to(DType::u8)));
      CHECK(same_bytes(t.at("flag"), Array({2}, {1, 0}).to(DType::boolean)));
      CHECK(same_bytes(t.at("scalar"), Array::scalar(2.5)));
      CHECK(t.at("empty").shape() == Shape{0, 3});
      CHECK(same_bytes(t.at("parameter"), Array({2}, {1, 2})));
      CHECK(same_bytes(read_tensor_file(golden(name)).tensors.at("f32"), base));
    }
  }

  TEST_CASE("a checkpoint: nested names, metadata, objects left out; its weights go into a model") {
    const TensorFile file = read_torch(golden("checkpoint.pt"));
    CHECK(file.tensors.size() == 4);
    CHECK(file.tensors.at("state_dict.2.weight").shape() == Shape{1, 3});
    CHECK(file.metadata.at("epoch") == "3");
    CHECK(file.metadata.at("done") == "false");
    CHECK(file.metadata.at("optimizer.param_groups.0.lr") == "0.1");
    CHECK(!file.metadata.contains("args"));
    nn::Sequential model{nn::Linear(2, 3), nn::Relu(), nn::Linear(3, 1)};
    CHECK(nn::load_weights(golden("checkpoint.pt"), model) ==
          std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias"});
    CHECK(same_bytes(model.named_parameters()[0].variable.value(),
                     Array({3, 2}, {0, 0.125, 0.25, 0.375, 0.5, 0.625})));
    nn::Sequential other{nn::Linear(2, 3), nn::Linear(3, 2), nn::Linear(3, 2)};
    const Array before = other.named_parameters()[0].variable.value();
    try {
      nn::load_weights(golden("checkpoint.pt"), other);
      FAIL("must throw");
    } catch (const Error& error) {
      CHECK(error.message() ==
            "does not fit this model; missing: 1.weight, 1.bias; different: 2.weight is f32 [1, 3] in the "
            "file and "
            "f32 [2, 3] here, 2.bias is f32 [1] in the file and f32 [2] here");
    }
    CHECK(same_bytes(other.named_parameters()[0].variable.value(), before));
    CHECK_THROWS_WITH_AS(
        nn::load_weights(golden("everything.pt"), other),
        doctest::Contains("missing: 0.weight, 0.bias, 1.weight, 1.bias, 2.weight and 1 more; "
                          "unexpected: bf16"),
        Error);
  }

  TEST_CASE("load_weights finds the model below the usual keys") {
    TemporaryFolder folder;
    nn::Sequential model{nn::Linear(1, 1)};
    for (const char* prefix :
         {"", "module.", "state_dict.", "model.", "model_state_dict.module.", "model._orig_mod."}) {
      CAPTURE(prefix);
      const float value = static_cast<float>(std::string(prefix).size());
      TensorFile file;
      file.tensors[cat(prefix, "0.weight")] = Array({1, 1}, {value});
      file.tensors[cat(prefix, "0.bias")] = Array({1}, {-value}).to(DType::f16);
      file.tensors["optimizer.0.bias"] = Array({1}, {99});
      write_safetensors(folder / "a", file);
      CHECK(nn::load_weights(folder / "a", model) == std::vector<std::string>{"0.weight", "0.bias"});
      CHECK(model.named_parameters()[0].variable.value().item() == value);
      CHECK(model.named_parameters()[1].variable.value().item() == -value);
    }
  }

  TEST_CASE("a pickle that runs a command is refused, and nothing runs") {
    CHECK_THROWS_WITH_AS(read_torch(golden("malicious.pt")), doctest::Contains("would call posix.system"),
                         Error);
    CHECK_THROWS_WITH_AS(read_torch(golden("malicious.pt")), doctest::Contains("malicious.pt: "), Error);
    for (const char* function : {"builtins\neval", "os\nsystem", "torch\nload",
                                 "numpy.core.multiarray\nscalarx", "collections\nOrderedDict.fromkeys"})
      refused(cat("\x80\x02", "c", function, "\n(tR."), "would call");
  }

  TEST_CASE("values that do not fit, and files of other kinds") {
    CHECK_THROWS_WITH_AS(read_torch(golden("too_large.pt")),
                         doctest::Contains("element 0 of tensor 'steps' (I64) does not fit in 32 bits"),
                         Error);
    TemporaryFolder folder;
    CHECK_THROWS_WITH_AS(read_torch(folder.write("a", "{}")), doctest::Contains("does not begin"), Error);
    std::string tar(512, '\0');
    tar.replace(257, 5, "ustar");
    CHECK_THROWS_WITH_AS(read_torch(folder.write("a", tar)), doctest::Contains("the tar format"), Error);
    CHECK_THROWS_WITH_AS(read_torch(folder.write("a", "PK\x03\x04 not a zip")),
                         doctest::Contains("broken zip"), Error);
    write_safetensors(folder / "s", {.tensors = {{"x", Array::scalar(4)}}, .metadata = {}});
    CHECK(read_tensor_file(folder / "s").tensors.at("x").item() == 4);
    std::string flipped = read_file(golden("everything.pt"));
    const size_t at = flipped.find(raw("\0\0\x80\x3f\0\0\0\x40"));
    REQUIRE(at != flipped.npos);
    flipped[at] = 1;
    CHECK_THROWS_WITH_AS(read_torch(folder.write("a", flipped)), doctest::Contains("CRC"), Error);
  }

  TEST_CASE("views are held against their storage") {
    TemporaryFolder folder;
    const std::string four = word(0x3f800000) + word(0x40000000) + word(0x40400000) + word(0x40800000);
    const auto load = [&](const std::string& bytes) {
      return read_torch(folder.write("a.pt", bytes)).tensors.at("w");
    };
    CHECK(same_bytes(load(legacy("FloatStorage", 4, 1, dims({3}), dims({1}), four)), Array({3}, {2, 3, 4})));
    CHECK(same_bytes(load(legacy("FloatStorage", 4, 1, dims({2, 2}), dims({1, 1}), four)),
                     Array({2, 2}, {2, 3, 3, 4})));
    CHECK(load(legacy("FloatStorage", 4, 9, dims({0}), dims({1}), four)).numel() == 0);
    const auto bad = [&](const std::string& bytes, const char* reason) {
      const AllocationLimit bounded(1 << 20);
      CHECK_THROWS_WITH_AS(load(bytes), doctest::Contains(reason), Error);
    };
    bad(legacy("FloatStorage", 4, 2, dims({3}), dims({1}), four), "reaches element 4 of a storage of 4");
    bad(legacy("FloatStorage", 4, 0, dims({2, 2}), dims({3, 1}), four), "reaches element 4");
    bad(legacy("FloatStorage", 4, -1, dims({3}), dims({1}), four), "that is none");
    bad(legacy("FloatStorage", 4, 0, dims({-3}), dims({1}), four), "that is none");
    bad(legacy("FloatStorage", 4, 0, dims({3}), dims({-1}), four), "that is none");
    bad(legacy("FloatStorage", 4, 0, dims({3}), dims({1, 1}), four), "unknown form");
    bad(legacy("FloatStorage", 4, 0, dims({1, 1, 1, 1, 1, 1, 1}), dims({0, 0, 0, 0, 0, 0, 0}), four),
        "more than 6 dimensions");
    bad(legacy("FloatStorage", 4, 0, dims({1 << 30, 1 << 30, 1 << 30}), dims({0, 0, 0}), four), "too large");
    bad(legacy("FloatStorage", 4, 0, dims({1 << 30}), dims({0}), four), "above 8 times the file's data");
    bad(legacy("FloatStorage", 4, INT64_MAX, dims({3}), dims({1 << 30}), four), "reaches element");
    bad(legacy("FloatStorage", 5, 0, dims({3}), dims({1}), four), "ends beyond the file");
    bad(legacy("FloatStorage", INT64_MAX, 0, dims({3}), dims({1}), four), "too large");
    bad(legacy("FloatStorage", int64_t{1} << 40, 0, dims({3}), dims({1}), four), "ends beyond the file");
    bad(legacy("ComplexFloatStorage", 2, 0, dims({2}), dims({1}), four),
        "tensor 'w' has the type torch.ComplexFloatStorage, which is not supported");
    bad(legacy("OtherStorage", 2, 0, dims({2}), dims({1}), four), "torch.OtherStorage");
    bad(legacy("BoolStorage", 4, 0, dims({4}), dims({1}), raw("\0\1\2\0")), "neither 0 nor 1");
  }

  TEST_CASE("pickle: the opcodes of protocols 2 to 5") {
    // pickle.dumps({"a": [1, -2, 2.5, None, True], ("t",): b"x", 3: 2**40}, protocol=4), without its frame.
    const std::string bytes =
        raw("\x80\x04}\x94(\x8c\x01"
            "a\x94]\x94(K\x01J\xfe\xff\xff\xffG\x40\x04\0\0\0\0\0\0N\x88"
            "e\x8c\x01t\x94\x85\x94"
            "C\x01x\x94K\x03\x8a\x06\0\0\0\0\0\x01u. and more");
    const Pickle dict = read(bytes);
    REQUIRE(dict.root->kind == PickleValue::Kind::dict);
    REQUIRE(dict.root->items.size() == 6);
    CHECK(dict.size == bytes.size() - std::string(" and more").size());
    const auto& list = dict.root->items[1]->items;
    REQUIRE(list.size() == 5);
    CHECK(list[1]->integer == -2);
    CHECK(list[2]->number == 2.5);
    CHECK(list[3]->kind == PickleValue::Kind::none);
    CHECK(list[4]->kind == PickleValue::Kind::boolean);
    CHECK(dict.root->items[2]->items[0]->text == "t");
    CHECK(dict.root->items[3]->text == "x");
    CHECK(dict.root->items[5]->integer == int64_t{1} << 40);
    CHECK(read(raw("\x80\x02\x8a\x01\xff.")).root->integer == -1);
    CHECK(read(raw("\x80\x02\x8a\0.")).root->integer == 0);
    CHECK(read(raw("\x80\x02\x8a\x09\1\1\1\1\1\1\1\1\1.")).root->kind == PickleValue::Kind::object);
    CHECK(read(raw("\x8c\x04good\x8c\x08"
                   "function\x93K\7\x85R."))
              .root->items[0]
              ->items[0]
              ->integer == 7);
    CHECK(read(raw("cany\nThing\n)\x81}b.")).root->text == "any.Thing");
    CHECK(read(raw("ccollections\nOrderedDict\n]]K\1aK\2aa\x85R.")).root->items[1]->integer == 2);
    CHECK(read(raw("]q\0h\0a.")).root->items.size() == 1);  // a list in itself
  }

  TEST_CASE("pickle: damage is named") {
    refused("", "ends early");
    refused(raw("\x80\x02"), "ends early");
    refused(".", "takes a value that is not there");
    refused("(.", "takes a value that is not there");
    refused("K\1(0.", "takes a value that is not there");
    refused("t.", "takes a mark that is not there");
    refused("h\5.", "was not kept");
    refused("K\1K\1a.", "no list and no dict");
    refused("}K\1(u.", "no list and no dict");
    refused("}(K\1u.", "a key without a value");
    refused("K\1K\1R.", "calls what is no function");
    refused("K\1)\x81.", "no class");
    refused("K\1K\1\x93.", "no text");
    refused("i.", "opcode 105, which PyTorch does not write");
    refused("X\xff\xff\xff\xff.", "ends early");
    refused(raw("\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), "ends early");
    refused("c" + std::string(2000, 'x') + "\ny\n.", "more than 1000 letters");
    refused("cno line", "ends early");
    refused("](" + std::string(1'500'000, 'N') + "e.", "too many values");
  }

  TEST_CASE("shared values are walked a bounded number of times") {
    TemporaryFolder folder;
    // Lists of the list before, twice, forty deep: 2^40 paths.
    std::string bomb = raw("]q\0");
    for (char i = 1; i <= 40; ++i)
      bomb += std::string("]q") + i + "(h" + static_cast<char>(i - 1) + "h" + static_cast<char>(i - 1) + "e";
    const std::string head = legacy("FloatStorage", 0, 0, dims({0}), dims({1}), "");
    const size_t body = head.find(raw("\x80\x02}.")) + 4;
    const std::string file = head.substr(0, body) + "\x80\x02" + bomb + "." + raw("\x80\x02].");
    CHECK_THROWS_WITH_AS(read_torch(folder.write("a", file)), doctest::Contains("too many values"), Error);
    // A megabyte of text, ten thousand times.
    std::string texts = raw("(X\0\0\x10\0") + std::string(1 << 20, 'x') + raw("q\0");
    for (int i = 0; i < 10000; ++i) texts += raw("h\0");
    const std::string echo = head.substr(0, body) + "\x80\x02" + texts + "t." + raw("\x80\x02].");
    CHECK_THROWS_WITH_AS(read_torch(folder.write("a", echo)), doctest::Contains("too many values"), Error);
    // A dict in itself.
    const std::string cycle = head.substr(0, body) + raw("\x80\x02}q\0X\1\0\0\0ah\0s.") + raw("\x80\x02].");
    CHECK_THROWS_WITH_AS(read_torch(folder.write("a", cycle)), doctest::Contains("nested deeper than 64"),
                         Error);
  }

  TEST_CASE("hostile: truncations, bit flips and absurd numbers") {
    TemporaryFolder folder;
    const auto read_bytes = [&](std::string_view bytes) { read_torch(folder.write("b", bytes)); };
    const std::string zip = read_file(golden("too_large.pt")),
                      tensor =
                          legacy("FloatStorage", 4, 1, dims({2, 1}), dims({1, 1}), std::string(16, '\0'));
    for (const std::string& valid : {zip, tensor, read_file(golden("everything_legacy.pt"))}) {
      const HostileResult cut = feed_truncated(valid, read_bytes);
      CHECK(cut.accepted == 0);
      CHECK(cut.unexpected == "");
    }
    const HostileResult archives = feed_damaged(zip, read_bytes), tensors = feed_damaged(tensor, read_bytes);
    CHECK(archives.unexpected == "");
    CHECK(archives.refused > 1000);
    CHECK(tensors.unexpected == "");
    CHECK(tensors.refused > 1000);
    // Where no checksum stands before the pickle.
    const std::string archive = read_file(golden("checkpoint.pt"));
    const size_t begin = archive.find(raw("\x80\x02}q")), end = archive.find("PK\x07\x08", begin);
    REQUIRE(end != archive.npos);
    const HostileResult pickles = feed_damaged(
        archive.substr(begin, end - begin),
        [](std::string_view bytes) { read_pickle(bytes, "x", [](const std::string&) { return true; }); });
    CHECK(pickles.unexpected == "");
    CHECK(pickles.accepted > 0);
    CHECK(pickles.refused > 1000);
  }
}
