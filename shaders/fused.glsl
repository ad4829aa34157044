// Where a kernel lets pointwise ops be built into it. A kernel that says `#pragma stithy fuse KERNEL IN OUT` (a - for
// none) reads every element of its buffer IN by PROLOGUE(IN[i], i), and writes every element of OUT as
// EPILOGUE(value, i); i is the element's number in the buffer, and both are f32. With a 4 they take four neighbours,
// i being a multiple of four. As it stands here nothing is built in. engine/graph/fused_kernel.cpp puts other text in
// the place of this file, in which PROLOGUE computes the element instead of reading it and EPILOGUE goes on with it.
#define PROLOGUE(x, i) x
#define PROLOGUE4(x, i) x
#define EPILOGUE(y, i) y
#define EPILOGUE4(y, i) y
