#include "tools/stithy/conformance_worker.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "engine/core/error.h"
#include "nn/interrupt.h"

namespace stithy::certify {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kLargestText = 64u << 20;
// A process that waits for a GPU that hangs may never die, and one with threads of the lowest priority, as
// Mesa's, takes long on a busy machine.
constexpr double kSecondsToDie = 0.5;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What goes through the pipe before each text.
struct Head {
  uint64_t item;
  uint32_t bytes;
  uint8_t threw, spent;
};

void send(int pipe, const void* data, size_t bytes) {
  for (const char* at = static_cast<const char*>(data); bytes > 0;) {
    const ssize_t n = write(pipe, at, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(1);  // nobody listens any more
    at += n;
    bytes -= static_cast<size_t>(n);
  }
}

[[noreturn]] void run_child(int pipe, size_t first, size_t count, const Supervision& supervision) {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  for (size_t item = first; item < count; ++item) {
    Reply reply;
    Head head{};
    head.item = item;
    try {
      reply = supervision.work(item);
    } catch (const std::exception& error) {
      reply = {error.what(), true};
      head.threw = 1;
    }
    if (reply.text.size() > kLargestText) reply.text.resize(kLargestText);
    head.bytes = static_cast<uint32_t>(reply.text.size());
    head.spent = reply.spent;
    send(pipe, &head, sizeof head);
    send(pipe, reply.text.data(), reply.text.size());
    if (reply.spent) break;
  }
  std::fflush(nullptr);
  _exit(0);
}

class Child {
 public:
  Child(size_t first, size_t count, const Supervision& supervision) {
    int ends[2];
    if (pipe(ends)) throw Error("stithy conformance", cat("no pipe: ", std::strerror(errno)));
    std::fflush(nullptr);
    process_ = fork();
    if (process_ < 0) {
      const int code = errno;
      close(ends[0]), close(ends[1]);
      throw Error("stithy conformance", cat("cannot start a process: ", std::strerror(code)));
    }
    if (process_ == 0) {
      close(ends[0]);
      run_child(ends[1], first, count, supervision);
    }
    close(ends[1]);
    pipe_ = ends[0];
  }
  ~Child() {
    close(pipe_);
    if (!ended_) kill(process_, SIGKILL);
    wait(kSecondsToDie);
  }
  Child(const Child&) = delete;

  enum class Event : uint8_t { message, ended, hangs, interrupted };
  Event next(double limit, Head* head, std::string* text) {
    const Clock::time_point start = Clock::now();
    size_t wanted = sizeof(Head);
    for (;;) {
      if (buffer_.size() >= wanted) {
        std::memcpy(head, buffer_.data(), sizeof *head);
        if (head->bytes > kLargestText) return Event::ended;
        wanted = sizeof(Head) + head->bytes;
        if (buffer_.size() >= wanted) {
          *text = buffer_.substr(sizeof(Head), head->bytes);
          buffer_.erase(0, wanted);
          return Event::message;
        }
      }
      if (nn::interrupted()) return Event::interrupted;
      if (seconds_since(start) > limit) return Event::hangs;
      pollfd readable{pipe_, POLLIN, 0};
      if (poll(&readable, 1, 100) <= 0) continue;
      char bytes[65536];
      const ssize_t n = read(pipe_, bytes, sizeof bytes);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return Event::ended;
      buffer_.append(bytes, static_cast<size_t>(n));
    }
  }

  // How it ended; waits for that, but not for ever.
  int wait(double limit) {
    const Clock::time_point start = Clock::now();
    while (!ended_ && seconds_since(start) < limit) {
      const pid_t found = waitpid(process_, &status_, WNOHANG);
      if (found == process_ || (found < 0 && errno != EINTR)) ended_ = true;
      if (!ended_) usleep(10000);
    }
    return status_;
  }

 private:
  pid_t process_ = -1;
  int pipe_ = -1, status_ = 0;
  bool ended_ = false;
  std::string buffer_;
};

std::string words_for(int status) {
  if (WIFSIGNALED(status))
    return cat("the process that ran it was ended by signal ", WTERMSIG(status), " (",
               strsignal(WTERMSIG(status)), ")");
  return cat("the process that ran it ended with status ", WEXITSTATUS(status));
}

}  // namespace

bool supervise(size_t count, const Supervision& supervision) {
  for (size_t item = 0; item < count;) {
    Child child(item, count, supervision);
    for (bool alive = true; alive && item < count;) {
      Head head{};
      std::string text;
      const Child::Event event = child.next(supervision.limit, &head, &text);
      if (event == Child::Event::interrupted) return false;
      if (event == Child::Event::message) {
        head.threw ? supervision.failed(item, text) : supervision.take(item, text);
        alive = !head.spent;
      } else if (event == Child::Event::hangs) {
        supervision.failed(item, cat("it did not end within ", supervision.limit, " seconds"));
        alive = false;
      } else {
        const int status = child.wait(10);  // it ends
        // Ctrl-C reaches the child, too, and perhaps first.
        if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM)) return false;
        supervision.failed(item, words_for(status));
        alive = false;
      }
      ++item;
    }
  }
  return true;
}

}  // namespace stithy::certify
