#include "engine/graph/op.h"

#include <cstdio>
#include <map>

#include "engine/core/error.h"
#include "tests/harness.h"
#include "tools/stithy/commands.h"

namespace stithy {
namespace {

struct OpLine {
  std::string name, dtypes, gradient, kernels, tested;
};

std::string join(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text;
}

std::vector<OpLine> op_lines() {
  std::map<std::string, const testing::Row*> rows;
  for (const testing::Row& row : testing::rows()) rows[row.op] = &row;
  std::vector<OpLine> lines;
  for (const OpDef* op : all_ops()) {
    const std::string name(op->name);
    const auto row = rows.find(name);
    OpLine line{name, std::string(op->dtypes),
                op->gradient      ? "yes"
                : op->composition ? "by composition"
                                  : "-",
                "", "-"};
    if (row != rows.end()) {
      line.kernels = join(testing::kernels_of(*row->second));
      line.tested = cat(row->second->cases.size(), row->second->cases.size() == 1 ? " case" : " cases");
    }
    if (!op->launch) line.kernels = "(view)";
    lines.push_back(line);
  }
  return lines;
}

}  // namespace

std::string ops_markdown() {
  std::string text = "| op | dtypes | gradient | kernels | tested |\n| --- | --- | --- | --- | --- |\n";
  for (const OpLine& line : op_lines())
    text += cat("| ", line.name, " | ", line.dtypes, " | ", line.gradient, " | ", line.kernels, " | ",
                line.tested, " |\n");
  return text;
}

int ops(std::span<const std::string> arguments) {
  if (arguments.size() == 1 && arguments[0] == "--markdown") {
    std::fputs(ops_markdown().c_str(), stdout);
    return 0;
  }
  if (!arguments.empty())
    throw Error("stithy ops", cat("does not know ", arguments[0]), "options: --markdown");
  std::printf("%-16s %-24s %-15s %-9s %s\n", "op", "dtypes", "gradient", "tested", "kernels");
  for (const OpLine& line : op_lines())
    std::printf("%-16s %-24s %-15s %-9s %s\n", line.name.c_str(), line.dtypes.c_str(), line.gradient.c_str(),
                line.tested.c_str(), line.kernels.c_str());
  return 0;
}

}  // namespace stithy
