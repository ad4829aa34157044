#include "nn/interrupt.h"

#include <csignal>

namespace stithy::nn {

namespace {
volatile std::sig_atomic_t signal_came = 0;
struct sigaction saved_int, saved_term;
}  // namespace

InterruptGuard::InterruptGuard() {
  struct sigaction action = {};
  action.sa_handler = [](int signal) { signal_came = signal; };
  // The second signal finds the default action; blocking calls go on after the first.
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &saved_int);
  sigaction(SIGTERM, &action, &saved_term);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &saved_int, nullptr);
  sigaction(SIGTERM, &saved_term, nullptr);
}

bool interrupted() { return signal_came != 0; }
int interrupt_signal() { return signal_came; }
void clear_interrupt() { signal_came = 0; }

}  // namespace stithy::nn
