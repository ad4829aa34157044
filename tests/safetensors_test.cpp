#include "nn/safetensors.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "engine/core/error.h"
#include "engine/core/file.h"
#include "tests/hostile.h"
#include "tests/temporary_folder.h"

using namespace stithy;

namespace {

std::string file_bytes(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + data;
}

template <class T>
std::string raw(std::initializer_list<T> values) {
  return std::string(reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T));
}

TensorFile read(const std::string& header, const std::string& data) {
  TemporaryFolder folder;
  return read_safetensors(folder.write("t.safetensors", file_bytes(header, data)));
}

TensorFile example() {
  TensorFile file;
  file.metadata = {{"format", "pt"}, {"note", "\"quoted\" and \xc3\xa9"}};
  file.tensors.emplace("layer.weight", Array({2, 3}, {1, 2, 3, 4, 5, -6}));
  file.tensors.emplace("half", Array({3}, {0.5f, -2, 65504}).to(DType::f16));
  file.tensors.emplace("brain", Array({1, 1, 2}, {3.0f, -1e30f}).to(DType::bf16));
  file.tensors.emplace("ids", Array({2}, {7, -7}).to(DType::i32));
  file.tensors.emplace("pixels", Array({5}, {0, 1, 2, 254, 255}).to(DType::u8));
  file.tensors.emplace("mask", Array({3}, {1, 0, 1}).to(DType::boolean));
  file.tensors.emplace("scalar", Array::scalar(4.5f));
  file.tensors.emplace("empty", Array({0, 4}, DType::f32));
  return file;
}

}  // namespace

TEST_SUITE("safetensors") {
  TEST_CASE("write and read back every type, bit for bit") {
    TemporaryFolder folder;
    const TensorFile file = example();
    write_safetensors(folder / "a", file);
    const TensorFile back = read_safetensors(folder / "a");
    CHECK(back.metadata == file.metadata);
    REQUIRE(back.tensors.size() == file.tensors.size());
    for (const auto& [name, array] : file.tensors) {
      CAPTURE(name);
      CHECK(same_bytes(back.tensors.at(name), array));
    }
    write_safetensors(folder / "b", back);
    const std::string bytes = read_file(folder / "a");
    CHECK(read_file(folder / "b") == bytes);
    uint64_t header = 0;
    std::memcpy(&header, bytes.data(), 8);
    CHECK(header % 8 == 0);
  }

  TEST_CASE("the bytes are those of the format's own example") {
    TemporaryFolder folder;
    TensorFile file;
    file.tensors.emplace("test", Array({2, 2}, DType::i32));
    write_safetensors(folder / "a", file);
    CHECK(read_file(folder / "a") ==
          file_bytes(R"({"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}    )",
                     std::string(16, '\0')));
  }

  TEST_CASE("an empty file has an empty header") {
    TemporaryFolder folder;
    write_safetensors(folder / "a", {});
    CHECK(read_safetensors(folder / "a").tensors.empty());
    CHECK(read("{}", "").tensors.empty());
    CHECK(read("{}   \n", "").tensors.empty());
  }

  TEST_CASE("other types are converted where the values fit") {
    const auto one = [](const char* dtype, size_t count, const std::string& data) {
      return read(cat(R"({"t":{"dtype":")", dtype, R"(","shape":[)", count, R"(],"data_offsets":[0,)",
                      data.size(), "]}}"),
                  data)
          .tensors.at("t");
    };
    const Array wide = one("I64", 3, raw<int64_t>({-2147483648LL, 5, 2147483647}));
    CHECK(wide.dtype() == DType::i32);
    CHECK(wide.values<int32_t>()[0] == -2147483647 - 1);
    CHECK(wide.values<int32_t>()[2] == 2147483647);
    CHECK_THROWS_WITH_AS(one("I64", 1, raw<int64_t>({2147483648LL})),
                         doctest::Contains("element 0 of tensor 't' (I64) does not fit in 32 bits"), Error);
    CHECK_THROWS_AS(one("U64", 1, raw<uint64_t>({~0ull})), Error);
    CHECK_THROWS_AS(one("U32", 1, raw<uint32_t>({~0u})), Error);
    CHECK(one("I8", 2, raw<int8_t>({-128, 127})).values<int32_t>()[0] == -128);
    CHECK(one("I16", 1, raw<int16_t>({-300})).values<int32_t>()[0] == -300);
    CHECK(one("U16", 1, raw<uint16_t>({65535})).values<int32_t>()[0] == 65535);
    CHECK(one("F64", 2, raw<double>({0.1, -3})).values<float>()[0] == 0.1f);
    CHECK_THROWS_WITH_AS(one("F8_E4M3", 1, "x"), doctest::Contains("tensor 't' has the type 'F8_E4M3'"),
                         Error);
    CHECK_THROWS_WITH_AS(one("BOOL", 1, "\x02"), doctest::Contains("neither 0 nor 1"), Error);
  }

  TEST_CASE("a wrong header is refused and the cause named") {
    const auto refused = [](const std::string& header, const std::string& data, const char* reason) {
      CAPTURE(header);
      CHECK_THROWS_WITH_AS(read(header, data), doctest::Contains(reason), Error);
    };
    const std::string four(4, 'x');
    refused(
        R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})",
        four, "the key 'a' twice");
    refused(R"({"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}})", four,
            "the key 'dtype' twice");
    refused(R"({"__metadata__":{"k":"1","k":"2"}})", "", "the key 'k' twice");
    refused(R"({"__metadata__":{"k":1}})", "", "a number");
    refused(R"({"__metadata__":{"k":{}}})", "", "an object");
    refused(R"({"__metadata__":["k"]})", "", "an array");
    refused(
        R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
        four, "overlaps");
    refused(
        R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})",
        four, "hole");
    refused(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}})", four, "hole");
    refused(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", four, "cover 3 of 4 bytes");
    refused(R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]}})", four, "ends beyond the file");
    refused(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}})", four, "needs 16 bytes");
    refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}})", four, "");
    refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0]}})", four, "two data_offsets");
    refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4,4]}})", four, "a third number");
    refused(R"({"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}})", four, "a negative number");
    refused(R"({"a":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}})", four, "no integer");
    refused(R"({"a":{"dtype":"U8","shape":[[4]],"data_offsets":[0,4]}})", four, "an array");
    refused(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,4],"data_offsets":[0,4]}})", four,
            "tensor 'a' has more than 6 dimensions");
    refused(R"({"a":{"dtype":"U8","shape":[4]}})", four, "lacks");
    refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}})", four, "an unknown field");
    refused(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", "", "too large");
    refused(R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,4]}})", four, "too large");
    refused(R"({"a":{"dtype":"U8","shape":[36893488147419103232],"data_offsets":[0,4]}})", four,
            "no integer");
    refused(R"({"a":7})", "", "a number");
    refused(R"({"a":null})", "", "null");
    refused(R"({"":{}})", "", "lacks");
    refused("[]", "", "does not begin with '{'");
    refused(" {}", "", "does not begin with '{'");
    refused("{}{}", "", "no valid JSON");
    refused("", "", "does not begin with '{'");
    refused("{" + std::string(50000, '['), "", "no valid JSON");
    refused("{\"\xff\":{}}", "", "no valid JSON");
  }

  TEST_CASE("a header size beyond the file or 100 MB is refused before allocation") {
    TemporaryFolder folder;
    for (uint64_t size :
         {uint64_t{3}, uint64_t{1} << 20, uint64_t{100'000'001}, uint64_t{1} << 40, ~uint64_t{0}}) {
      std::string bytes(8, '\0');
      std::memcpy(bytes.data(), &size, 8);
      const AllocationLimit bounded(1 << 16);
      CHECK_THROWS_WITH_AS(read_safetensors(folder.write("a", bytes + "{}")),
                           doctest::Contains("claims a header"), Error);
    }
  }

  TEST_CASE("hostile: truncations, bit flips and absurd numbers") {
    TemporaryFolder folder;
    write_safetensors(folder / "a", example());
    const std::string valid = read_file(folder / "a");
    const auto read_bytes = [&](std::string_view bytes) { read_safetensors(folder.write("b", bytes)); };
    const HostileResult cut = feed_truncated(valid, read_bytes);
    CHECK(cut.accepted == 0);
    CHECK(cut.unexpected == "");
    const HostileResult damaged = feed_damaged(valid, read_bytes);
    CHECK(damaged.unexpected == "");
    CHECK(damaged.refused > damaged.accepted);
  }

  TEST_CASE("the writer refuses names that the format cannot hold") {
    TemporaryFolder folder;
    TensorFile file;
    file.tensors.emplace("__metadata__", Array::scalar(1));
    CHECK_THROWS_AS(write_safetensors(folder / "a", file), Error);
    file.tensors.clear();
    file.tensors.emplace("\xff", Array::scalar(1));
    CHECK_THROWS_WITH_AS(write_safetensors(folder / "a", file), doctest::Contains("UTF-8"), Error);
    CHECK(folder.files() == 0);
  }
}
