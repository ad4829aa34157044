// Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011), the twin of philox() in engine/core/rng.cpp.
uvec4 philox(uvec4 c, uvec2 key) {
  for (int round = 0; round < 10; ++round) {
    uint high0, low0, high1, low1;
    umulExtended(0xD2511F53u, c.x, high0, low0);
    umulExtended(0xCD9E8D57u, c.z, high1, low1);
    c = uvec4(high1 ^ c.y ^ key.x, low1, high0 ^ c.w ^ key.y, low0);
    key += uvec2(0x9E3779B9u, 0xBB67AE85u);
  }
  return c;
}

// Words 4 * block to 4 * block + 3 of a stream; `state` is Generator::state().
uvec4 random_words(uint block, uint stream, uvec4 state) { return philox(uvec4(block, state.z, stream, 0u), state.xy); }
// In [0, 1), of 24 bits.
vec4 random_uniform(uvec4 words) { return vec4(words >> 8) * 5.9604644775390625e-8; }
