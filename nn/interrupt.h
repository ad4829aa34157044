// Ctrl-C and SIGTERM as a question that training asks between steps.
#pragma once

namespace stithy::nn {

// While alive, the first SIGINT or SIGTERM only sets a flag; a second one ends the process as usual.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
};

// True once such a signal came, and which one (0: none). clear_interrupt() forgets it.
bool interrupted();
int interrupt_signal();
void clear_interrupt();

}  // namespace stithy::nn
