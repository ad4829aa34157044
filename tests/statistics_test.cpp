// The words of the drivers' compilers become one set of words; the numbers themselves are
// tests/compilers.sh's.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>

#include "engine/core/error.h"
#include "engine/graph/device.h"
#include "engine/vk/device.h"

using namespace stithy;
using vk::DriverFigure;
using vk::Executable;
using vk::KernelStatistics;

namespace {

Executable executable(std::vector<std::pair<std::string, uint64_t>> own, uint32_t subgroup_size = 0) {
  Executable result{
      .name = "compute", .description = {}, .subgroup_size = subgroup_size, .own = {}, .texts = {}};
  for (auto& [name, value] : own) result.own.push_back({name, "", value});
  return result;
}

KernelStatistics normalised(std::vector<std::pair<std::string, uint64_t>> own) {
  return vk::normalised({executable(std::move(own))});
}

}  // namespace

TEST_SUITE_BEGIN("statistics");

TEST_CASE("the words of AMD's compiler") {
  const KernelStatistics amd = vk::normalised({executable({{"SGPRs", 24},
                                                           {"VGPRs", 40},
                                                           {"Spilled SGPRs", 1},
                                                           {"Spilled VGPRs", 2},
                                                           {"Code size", 1024},
                                                           {"LDS size", 512},
                                                           {"Scratch size", 64},
                                                           {"Subgroups per SIMD", 12},
                                                           {"Instructions", 210},
                                                           {"Latency", 4011},
                                                           {"Inverse Throughput", 300},
                                                           {"VMEM Clause", 7},
                                                           {"Pre-Sched VGPRs", 44}},
                                                          32)},
                                              0x1002, 16);
  CHECK(amd.registers == 40);
  CHECK(amd.scalar_registers == 24);
  CHECK(amd.spills == 3);
  CHECK(amd.shared_bytes == 512);
  CHECK(amd.scratch_bytes == 64);
  CHECK(amd.code_bytes == 1024);
  CHECK(amd.instructions == 210);
  CHECK(amd.cycles == 4011);
  CHECK(amd.subgroup_size == 32);
  REQUIRE(amd.occupancy);
  CHECK(amd.occupancy->subgroups == 12);
  CHECK(amd.occupancy->most == 16);
  CHECK_FALSE(amd.mix.has_value());
  REQUIRE(amd.executables.size() == 1);
  CHECK(amd.executables[0].own.size() == 13);
}

TEST_CASE("the words of Intel's compiler, which may compile for several subgroup sizes") {
  const auto of = [](uint64_t spills, uint64_t cycles, uint32_t lanes) {
    return executable({{"Instruction Count", 100},
                       {"Loop count", 2},
                       {"Cycle Count", cycles},
                       {"SEND Count", 9},
                       {"Spill Count", spills},
                       {"Fill Count", 6},
                       {"Scratch Memory Size", 2048},
                       {"Max live registers", 77},
                       {"Workgroup Memory Size", 128}},
                      lanes);
  };
  const KernelStatistics intel = vk::normalised({of(0, 900, 8), of(5, 700, 16)}, 0x8086);
  CHECK(intel.spills == 5);
  CHECK(intel.registers == 77);
  CHECK(intel.scratch_bytes == 2048);
  CHECK(intel.shared_bytes == 128);
  CHECK(intel.instructions == 100);
  CHECK(intel.cycles == 900);
  CHECK(intel.subgroup_size == 16);
  CHECK_FALSE(intel.code_bytes.has_value());
  CHECK_FALSE(intel.scalar_registers.has_value());
  CHECK_FALSE(intel.occupancy.has_value());
}

TEST_CASE("the words of NVK's, NVIDIA's and Turnip's compilers") {
  const KernelStatistics nvk = normalised({{"Code Size", 640},
                                           {"Number of GPRs", 32},
                                           {"SLM Size", 16},
                                           {"Instruction count", 40},
                                           {"Static cycle count", 1234},
                                           {"Max warps/SM", 48},
                                           {"Spills to memory", 4},
                                           {"Spills to reg", 1},
                                           {"Fills from memory", 9}});
  CHECK(nvk.registers == 32);
  CHECK(nvk.spills == 5);
  CHECK(nvk.scratch_bytes == 16);
  CHECK(nvk.instructions == 40);
  CHECK(nvk.cycles == 1234);
  REQUIRE(nvk.occupancy);
  CHECK(nvk.occupancy->subgroups == 48);
  CHECK_FALSE(nvk.occupancy->most.has_value());

  const KernelStatistics nvidia = normalised(
      {{"Register Count", 40}, {"Binary Size", 4096}, {"Stack Size", 8}, {"Shared Memory Size", 256}});
  CHECK(nvidia.registers == 40);
  CHECK(nvidia.code_bytes == 4096);
  CHECK(nvidia.scratch_bytes == 8);
  CHECK(nvidia.shared_bytes == 256);
  CHECK_FALSE(nvidia.spills.has_value());

  const KernelStatistics turnip = normalised({{"Max Waves Per Core", 8},
                                              {"Instruction Count", 77},
                                              {"Code size", 1000},
                                              {"Registers used", 12},
                                              {"STP Count", 3},
                                              {"LDP Count", 4}});
  CHECK(turnip.registers == 12);
  CHECK(turnip.spills == 3);
  CHECK(turnip.instructions == 77);
  REQUIRE(turnip.occupancy);
  CHECK(turnip.occupancy->subgroups == 8);
}

TEST_CASE("what a driver does not tell is absent, not zero") {
  const KernelStatistics none = normalised({});
  CHECK_FALSE(none.spills.has_value());
  CHECK_FALSE(none.registers.has_value());
  CHECK_FALSE(none.subgroup_size.has_value());
  CHECK_FALSE(vk::normalised({}).registers.has_value());
  CHECK(normalised({{"Spilled VGPRs", 0}}).spills == 0);
}

TEST_CASE("a driver's own figures keep their format, and only counts become figures") {
  Executable odd = executable({});
  odd.own = {{"VGPRs", "", int64_t{-1}},
             {"Code size", "", std::nan("")},
             {"LDS size", "", 1e300},
             {"SGPRs", "", 24.0},
             {"Driver pipeline hash", "", uint64_t{0xfedcba9876543210}}};
  const KernelStatistics s = vk::normalised({odd});
  CHECK_FALSE(s.registers.has_value());
  CHECK_FALSE(s.code_bytes.has_value());
  CHECK_FALSE(s.shared_bytes.has_value());
  CHECK(s.scalar_registers == 24);
  CHECK(std::get<uint64_t>(s.executables[0].own[4].value) == 0xfedcba9876543210);
  CHECK(number_of(s.executables[0].own[0]) == -1);
}

namespace {

constexpr uint32_t kAmd = 0x1002, kIntel = 0x8086, kNvidia = 0x10de;

// Classes that are not named are 0.
vk::InstructionMix mix_of(std::initializer_list<std::pair<vk::InstructionClass, uint64_t>> counts) {
  vk::InstructionMix mix;
  for (const auto& [instruction, count] : counts) mix[instruction] = count;
  return mix;
}

// What differs, in words.
std::string text_of(const std::optional<vk::InstructionMix>& mix) {
  if (!mix) return "none";
  std::string text;
  for (size_t i = 0; i < vk::kInstructionClasses; ++i)
    if (mix->counts[i]) text += cat(name_of(static_cast<vk::InstructionClass>(i)), " ", mix->counts[i], " ");
  return text;
}

}  // namespace

using Class = vk::InstructionClass;

TEST_CASE("instructions of AMD's assembly, by class") {
  // ACO of Mesa 22.3 for Navi 21, and, for matrices and newer names, LLVM's manual of GFX11 and GFX12.
  const char* text = R"(BB0:
	s_mul_i32 s10, s10, s6                                      ; 930a060a
	s_cmp_lt_u32 s0, s3                                         ; bf0a0300
	s_cbranch_scc0 BB67                                         ; bf84011b
BB1:
	v_mov_b32_e32 v3, 0xff800000                                ; 7e0602ff ff800000
	v_cmpx_le_u32_e32 s4, v4                                    ; 7da60804
	s_load_dwordx4 s[12:15], s[8:9], null                       ; f4080304 fa000000
	s_waitcnt lgkmcnt(0)                                        ; bf8cc07f
	buffer_load_dword v5, v5, s[12:15], 0 offen                 ; e0301000 80030505
	v_max_f32_dpp v1, v1, v1 row_mirror row_mask:0xf bank_mask:0xf fi:1 ; 200202fa ff054001
	v_cvt_f32_u32_e32 v1, v2
	v_pk_fma_f16 v1, v2, v3, v4
	v_readlane_b32 s1, v1, 63                                   ; d7600001 00017f01
	s_barrier                                                   ; bf8a0000
	ds_write_b32 v3, v4                                         ; d8340000 00000403
	v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]
	global_store_b32 v[0:1], v2, off
	buffer_gl0_inv
	s_wait_loadcnt 0x0
	s_delay_alu instid0(VALU_DEP_1)
	s_endpgm                                                    ; bf810000
)";
  const auto expected = mix_of({{Class::scalar_alu, 2},
                                {Class::control, 2},
                                {Class::integer_alu, 3},
                                {Class::load, 2},
                                {Class::sync, 4},
                                {Class::float_alu, 3},
                                {Class::shared, 1},
                                {Class::matrix, 1},
                                {Class::store, 1},
                                {Class::other, 1}});
  CHECK(text_of(vk::instruction_mix(text, kAmd)) == text_of(expected));
}

TEST_CASE("instructions of Intel's assembly, by class") {
  // Mesa 25.0 for DG2, and for Skylake the message of a shared memory of its own.
  const char* text = R"(Push constant ranges:
    RANGE0 (480B): Vulkan push constants and API params
START B0 (52 cycles)
and(1)          g18<1>UD        g0<0,1,0>UD     0xffffffc0UD    { align1 WE_all 1N };
mov(8)          g83<1>F         g2.4<0,1,0>F                    { align1 WE_all 1Q compacted };
mad(16)         g9<1>F          g5<8,8,1>F      g7<8,8,1>F      g3<1,1,1>F { align1 1H };
cmp.z.f0.0(8)   g84<1>D         g16<0,1,0>D     -1D             { align1 WE_all 1Q F@1 };
sync nop(1)                     null<0,1,0>UB                   { align1 WE_all 1N I@2 };
math inv(16)    g12<1>F         g10<8,8,1>F     null<8,8,1>F    { align1 1H @1 $4 };
send(1)         g3UD            g18UD           nullUD          0x0280f500                0x00000000
                            ugm MsgDesc: ( load, a32, d32, V64, transpose, L1STATE_L3MOCS dst_len = 8, src0_len = 1, src1_len = 0 flat )  base_offset 0  { align1 WE_all 1N $0 };
(+f0.0) send(16) nullUD         g91UD           g81UD           0x04000504                0x00000080
                            slm MsgDesc: ( store, a32, d32, V1, L1STATE_L3MOCS dst_len = 0 flat )  base_offset 0  { align1 1H $7 };
send(16)        nullUD          g126UD          nullUD          0x02000000                0x00000000
                            gateway MsgDesc: (barrier msg)  mlen 1 ex_mlen 0 rlen 0 { align1 WE_all 1H $7 };
sends(16)       nullUD          g59UD           g64UD           0x04025e03                0x00000080
                            dp data 1 MsgDesc: (DC untyped surface write, Surface = 3, SIMD16, Mask = 0xe)  mlen 2 ex_mlen 2 rlen 0 { align1 1H };
send(16)        g34<1>UW        g32<0,1,0>UD    0x04205e02
                            dp data 1 MsgDesc: (untyped surface read, Surface = 254, SIMD16, Mask = 0xe)  mlen 2 rlen 2 { align1 1H };
(+f0.0) if(16)  JIP:  LABEL1          UIP:  LABEL0              { align1 1H };
dpas.8x8(8)     g30<1>F         g20<1,1,0>F     g40<1,1,0>HF    g50<1,1,0>HF { align1 WE_all 1Q $2 };

LABEL1:
endif(16)       JIP:  LABEL0                                    { align1 1H };
send(16)        null<1>UW       g126<0,1,0>UD   0x82000010
                            thread_spawner MsgDesc:  mlen 1 rlen 0          { align1 WE_all 1H EOT };
END B0
)";
  const auto expected = mix_of({{Class::integer_alu, 3},
                                {Class::float_alu, 2},
                                {Class::sync, 2},
                                {Class::load, 1},
                                {Class::shared, 2},
                                {Class::store, 1},
                                {Class::control, 3},
                                {Class::matrix, 1}});
  CHECK(text_of(vk::instruction_mix(text, kIntel)) == text_of(expected));
}

TEST_CASE("instructions of NVIDIA's assembly, by class") {
  // NAK of Mesa 26.2 for Ampere.
  const char* text = R"(block.u 0 L2 [] -> {
      b0       = bssy b0 pT L0                                    // delay=1
                 nop L0                                           // delay=1
      ur2      = ldc.b32 c[0x0][+0x728]                           // delay=1 wr:0
      ur7      = iadd3 ur6 0x3f rZ                                // delay=1 wt=000010
                 bra !up0 L1                                      // delay=1
} -> [1, 294]
      r0       = imnmx.u32 r0 ur11 pT                             // delay=4
      ur11     = r2ur r0                                          // delay=1 wr:0
      r12      = mufu.rcp.f32 r12                                 // delay=2 wt=000100 wr:1
      p0       = isetp.lt.u32.and r1 r2 pT                        // delay=13
      r5       = ffma r1 r2 r3                                    // delay=1
      r8       = ld.global.a64.constant.b32 [r36..38+rZ], pT      // delay=2 wr:0
@!p0             st.global.a64.strong.cta.b32 [r60..62+rZ] r8     // delay=2 rd:0
                 st.shared.strong.cta.b32 [r60.x4+rZ] r8          // delay=2 rd:0
      r4       = ld.shared.strong.cta.b32 [r61]                   // delay=2 wr:0
                 bar.sync rZ                                      // delay=5
      r10..12  = hmma.m16n8k16.f32 r2..6 r6..8 r10..14            // delay=2
      r9       = newer r8                                         // delay=1
@!p0             exit                                             // delay=1 wt=000001
)";
  const auto expected = mix_of({{Class::control, 3},
                                {Class::other, 2},
                                {Class::load, 2},
                                {Class::scalar_alu, 2},
                                {Class::integer_alu, 2},
                                {Class::float_alu, 2},
                                {Class::store, 1},
                                {Class::shared, 2},
                                {Class::sync, 1},
                                {Class::matrix, 1}});
  CHECK(text_of(vk::instruction_mix(text, kNvidia)) == text_of(expected));
}

TEST_CASE("a text that is no assembly has no mix") {
  CHECK_FALSE(vk::instruction_mix("", kAmd));
  CHECK_FALSE(vk::instruction_mix("shader: MESA_SHADER_COMPUTE\ninputs: 0\n", kAmd));
  CHECK_FALSE(vk::instruction_mix("mov(8) g1<1>F", kNvidia));
  CHECK_FALSE(vk::instruction_mix("v_add_f32 v0, v1, v2", 0x5143));
  for (const uint32_t vendor : {kAmd, kIntel, kNvidia})
    for (const char* broken :
         {"(", "@", ":", "v_", "send(", "mov(8)", " = ", "(+f0) ", "@p0 // delay=", "s_:"})
      CHECK_NOTHROW((void)vk::instruction_mix(broken, vendor));
}

TEST_CASE("the mix is that of the final assembly among an executable's texts") {
  Executable amd = executable({});
  amd.texts = {{"NIR Shader(s)", "The optimized NIR shader(s)", "v_add_f32 v0, v1, v2\n"},
               {"Assembly", "Final Assembly", "s_endpgm\n"}};
  const KernelStatistics s = vk::normalised({amd}, kAmd);
  CHECK(text_of(s.mix) == "control 1 ");
  CHECK_FALSE(vk::normalised({amd}, 0).mix.has_value());
}

TEST_SUITE_END();
