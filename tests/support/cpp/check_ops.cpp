// Runs the cases that write_cases.py wrote on the cpu backend and compares with the references in the file.
// Usage: check_ops CASES [THREADS]. Uses the C interface alone, so it runs on boards and emulators without Python.
#include <fastalex.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Case {
  std::string name, table;
  int32_t n, c, h, w, storage, precision;
  std::vector<float> input;
  std::vector<std::vector<float>> params;
  std::vector<double> reference, bound;
};

template <typename T>
std::vector<T> read_array(std::istream& in, size_t count) {
  std::vector<T> values(count);
  in.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)));
  if (!in) throw std::runtime_error("the case file ends too early");
  return values;
}

bool read_case(std::istream& in, Case* out) {
  std::string line;
  if (!std::getline(in, line)) return false;
  std::istringstream words(line);
  size_t outputs, table_bytes, param_total;
  words >> out->name >> out->n >> out->c >> out->h >> out->w >> out->storage >> out->precision >> outputs >>
      table_bytes >> param_total;
  std::vector<size_t> counts(param_total);
  for (size_t& count : counts) words >> count;
  if (!words) throw std::runtime_error("the case file has a broken line: " + line);
  const std::vector<char> table = read_array<char>(in, table_bytes);
  out->table.assign(table.begin(), table.end());
  out->input = read_array<float>(in, static_cast<size_t>(out->n) * out->c * out->h * out->w);
  out->params.clear();
  for (size_t count : counts) out->params.push_back(read_array<float>(in, count));
  out->reference = read_array<double>(in, outputs);
  out->bound = read_array<double>(in, outputs);
  return true;
}

void check(int status) {
  if (status != FASTALEX_OK) throw std::runtime_error(fastalex_last_error());
}

// The largest error in parts of its bound; infinity where an exact value differs.
double worst(const Case& test, int threads) {
  std::vector<fastalex_param> params;
  for (const std::vector<float>& param : test.params)
    params.push_back({param.data(), nullptr, param.size(), FASTALEX_FP32, 0});
  fastalex_options options = {};
  options.struct_size = sizeof options;
  options.backend = "cpu";
  options.fc_storage = test.storage;
  options.precision = test.precision;
  options.threads = threads;
  fastalex_net* net = nullptr;
  check(fastalex_create(test.table.c_str(), test.c, test.h, test.w, params.data(), params.size(), &options, &net));
  std::vector<float> output(test.reference.size(), NAN);  // what is not written shows
  float* const outputs[] = {output.data()};
  const size_t room[] = {output.size()};
  fastalex_call call = {};
  call.struct_size = sizeof call;
  call.batch = test.n;
  call.height = test.h;
  call.width = test.w;
  call.input = test.input.data();
  call.outputs = outputs;
  call.output_counts = room;
  const int status = fastalex_run(net, &call);
  fastalex_destroy(net);
  check(status);
  double share = 0;
  for (size_t i = 0; i < output.size(); ++i) {
    const double error = std::fabs(output[i] - test.reference[i]);
    if (!(error <= test.bound[i])) return INFINITY;
    if (test.bound[i] > 0) share = std::fmax(share, error / test.bound[i]);
  }
  return share;
}

int run(const char* path, int threads) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(std::string("cannot open ") + path);
  const char* isa;
  check(fastalex_cpu_isa(&isa));
  int passed = 0, failed = 0;
  for (Case test; read_case(in, &test);) {
    const double share = worst(test, threads);
    std::printf("%-40s %-5s %.3f of the bound\n", test.name.c_str(), share <= 1 ? "ok" : "WRONG", share);
    ++(share <= 1 ? passed : failed);
  }
  std::printf("isa %s: %d passed, %d failed\n", isa, passed, failed);
  return failed || !passed ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: check_ops CASES [THREADS]\n");
    return 2;
  }
  try {
    return run(argv[1], argc == 3 ? std::atoi(argv[2]) : 2);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "check_ops: %s\n", error.what());
    return 1;
  }
}
