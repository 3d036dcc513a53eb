// The table behind a family of candidates: rows of its own type, mostly one for each instance of its kernels.
#ifndef FASTALEX_CUDA_CANDIDATES_CANDIDATE_TABLE_H
#define FASTALEX_CUDA_CANDIDATES_CANDIDATE_TABLE_H

#include <utility>
#include <vector>

#include "common/error.h"
#include "cuda/candidates/candidate.h"

namespace fastalex {
namespace cuda {

// A row of an instance list (kernels/*_instances.h) as a Row: the kernel, then the entries after the first eight.
#define FASTALEX_CANDIDATE_ROW(NAME, KERNEL, ARGS, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR, ...) \
  Row{FASTALEX_KERNEL_INFO(NAME, KERNEL, ARGS, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR), __VA_ARGS__},

// Made once and never freed: candidates and launches point into it.
template <class Row>
class CandidateTable {
 public:
  explicit CandidateTable(std::vector<Row> rows) : rows_(std::move(rows)) {}
  CandidateTable(const CandidateTable&) = delete;
  CandidateTable& operator=(const CandidateTable&) = delete;

  const std::vector<Row>& rows() const { return rows_; }
  static const Row& row_of(const Candidate& candidate) { return *static_cast<const Row*>(candidate.detail); }

  // The kernel of the first row for which is_meant(row).
  template <class Test>
  const KernelInfo& kernel(const Test& is_meant) const {
    for (const Row& row : rows_)
      if (is_meant(row)) return row.kernel;
    FASTALEX_ASSERT(!"a kernel for it");
    return rows_.front().kernel;
  }

  // The fields of a candidate that follow from its row alone.
  static Candidate candidate(const Row& row) {
    Candidate c = {};
    c.name = row.kernel.name;
    c.dtype = row.dtype;
    c.kernels = {row.kernel};
    c.detail = &row;
    return c;
  }

  // Makes a candidate of each row for which complete(row, &candidate), which fills in the rest, returns true. The
  // kernels of the other rows are parts of candidates or serve something else.
  template <class Complete>
  std::vector<Candidate> candidates(const Complete& complete) const {
    std::vector<Candidate> list;
    for (const Row& row : rows_) {
      Candidate c = candidate(row);
      if (complete(row, &c)) list.push_back(c);
    }
    return list;
  }

 private:
  const std::vector<Row> rows_;
};

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_CANDIDATES_CANDIDATE_TABLE_H
