// What a kernel does to a result just before it stores it: nothing, unless a fused kernel is generated from its
// source with another epilogue.glsl. That one may declare buffers behind the kernel's own and define
//   EPILOGUE_PUSH       members at the end of the push-constant block
//   EPILOGUE_FUNCTIONS  functions, which see those members
//   EPILOGUE(x, i)      the value to store for x, i being its row-major index in the (whole) output
//   EPILOGUE4(v, i)     the same for the elements i to i + 3, i being a multiple of 4
#define EPILOGUE_PUSH
#define EPILOGUE_FUNCTIONS
#define EPILOGUE(x, i) (x)
#define EPILOGUE4(v, i) (v)
