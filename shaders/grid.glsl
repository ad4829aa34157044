// A one-dimensional grid larger than a device's limit for x is folded into x and y by Launch::grid().
// Macros, because gl_WorkGroupSize is silently 1 in text that stands before layout(local_size_x_id = ...) in.
#define group_index() (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x)
#define invocation_index() (group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x)
