// Work in a process of its own, item by item, watched by one that survives: a driver that crashes or hangs
// costs one item.
#pragma once

#include <functional>
#include <string>

namespace stithy::certify {

struct Reply {
  std::string text;
  bool spent = false;  // the process can do no more, as after its device was lost; another one goes on
};

// Calls work(0) ... work(count - 1) in a child, in order. Before the call, the caller must not have opened a
// device: a child of a process that has one cannot use it. For each item calls take(item, text) with what
// `work` returned, or failed(item, why) where it threw, ended its process, or took longer than `limit`
// seconds; the next item is worked on in a new process then.
// Ends early, with false, once nn::interrupted(). Throws Error when no process can be started.
struct Supervision {
  std::function<Reply(size_t item)> work;
  std::function<void(size_t item, const std::string& text)> take;
  std::function<void(size_t item, const std::string& why)> failed;
  double limit = 600;
};
bool supervise(size_t count, const Supervision& supervision);

}  // namespace stithy::certify
