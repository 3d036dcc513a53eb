// A plan of the CPU backend: its tensors, its stages, and how a call runs them.
#ifndef FASTALEX_CPU_PLAN_H
#define FASTALEX_CPU_PLAN_H

#include <memory>
#include <vector>

#include "backend/backend_impl.h"
#include "cpu/buffer.h"
#include "cpu/model.h"
#include "cpu/stages.h"

namespace fastalex {

// Steps before the first fully connected one work on chunks of images, tensors[i] -> tensors[i + 1]; the later ones on
// the whole batch. Within a chunk, the steps before the first large weights run image by image, so that one image's
// activations stay in the caches; the others run for all its images, so that the weights are read once for them. If a
// batch has chunks enough for every thread, the threads take a chunk each, and what one wrote no other has to read;
// otherwise they share each step.
struct Network {
  // Throws Error(FASTALEX_INVALID) for images that the model's weights do not fit.
  Network(const Model* model, const fastalex_step* steps, size_t count);

  bool has_fc_part() const { return per_image_steps < steps.size(); }
  int batch() const { return steps[0].n; }
  size_t interleaved_bytes() const;  // FcArgs::scratch_bytes
  int chunks() const { return (batch() + chunk_images - 1) / chunk_images; }

  const Model* model;
  std::vector<fastalex_step> steps;
  size_t per_image_steps;       // number of steps that work on chunks
  size_t conv_steps;            // number of those that work image by image
  std::vector<Tensor> tensors;  // per_image_steps + 1
  std::vector<std::unique_ptr<Stage>> stages;
  int input_block;  // of the import of the network's input (ImportArgs)
  int chunk_images;
  bool parallel_over_chunks;                // the threads take a chunk each
  size_t workspace_bytes;                   // of a chunk
  size_t transformed_bytes, scratch_bytes;  // of a chunk; of a worker
  size_t features_pitch;                    // floats from one row of the batch part to the next
  size_t prepared_bytes, plane_sums;        // of a row of the batch part
  size_t list_entries, used_rows;           // of FcArgs::active with active_starts; most rows of weights
  size_t listed_bytes, totals;              // of a row of the batch part: FcArgs::listed and FcArgs::totals

 private:
  void make_tensors();
  void make_stages();
  void size_batch_part();
};

struct NetworkContext final : BackendContext {
  explicit NetworkContext(const Network& network);

  std::vector<Buffer> workspaces, transformed;  // one of each per chunk in progress; borders stay zero
  Buffer scratch;                               // [worker][scratch_bytes]
  Buffer features[2];
  Buffer prepared, row_scales, row_zeros, plane_sums;
  Buffer active, used, listed, totals;  // zeros.h
  Buffer interleaved;                   // FcArgs::scratch
};

// Throws Error(FASTALEX_INTERRUPTED) if call.interrupted asks for it.
void run_network(const Network& network, NetworkContext* context, const fastalex_backend_call& call);

}  // namespace fastalex
#endif  // FASTALEX_CPU_PLAN_H
