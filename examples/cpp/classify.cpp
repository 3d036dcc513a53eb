// Classifies one image with nothing but the C interface. Usage: classify FOLDER, with FOLDER from export.py.
#include <fastalex.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

void check(int status) {
  if (status != FASTALEX_OK) throw std::runtime_error(fastalex_last_error());
}

std::ifstream open(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path);
  return in;
}

std::string read_text(const std::string& path) {
  std::ifstream in = open(path);
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

std::vector<float> read_floats(const std::string& path, size_t count) {
  std::vector<float> values(count);
  std::ifstream in = open(path);
  if (!in.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(float))))
    throw std::runtime_error(path + " is too short");
  return values;
}

void classify(const std::string& folder) {
  const std::string table = read_text(folder + "/network.txt");
  int32_t c, h, w;
  std::ifstream shape_file = open(folder + "/shape.txt");
  if (!(shape_file >> c >> h >> w)) throw std::runtime_error(folder + "/shape.txt is not three numbers");

  size_t total = 0;
  check(fastalex_layers(table.c_str(), c, h, w, nullptr, 0, &total));
  std::vector<fastalex_layer> layers(total);
  check(fastalex_layers(table.c_str(), c, h, w, layers.data(), layers.size(), &total));
  size_t count = 0;
  for (const fastalex_layer& layer : layers) count += layer.weights + layer.bias;
  const std::vector<float> weights = read_floats(folder + "/weights.f32", count);
  std::vector<fastalex_param> params;
  const float* next = weights.data();
  for (const fastalex_layer& layer : layers) {
    for (size_t values : {layer.weights, layer.bias}) {
      if (values) params.push_back({next, nullptr, values, FASTALEX_FP32, 0});
      next += values;
    }
  }

  fastalex_options options = {};  // zeros: fp32, all processors
  options.struct_size = sizeof options;
  options.backend = "cpu";
  fastalex_net* net = nullptr;
  check(fastalex_create(table.c_str(), c, h, w, params.data(), params.size(), &options, &net));
  const std::vector<float> image = read_floats(folder + "/image.f32", static_cast<size_t>(c) * h * w);
  std::vector<float> probability(static_cast<size_t>(layers.back().shape[0]));
  float* const outputs[] = {probability.data()};
  const size_t room[] = {probability.size()};
  fastalex_call call = {};
  call.struct_size = sizeof call;
  call.batch = 1;
  call.height = h;
  call.width = w;
  call.flags = FASTALEX_SOFTMAX;
  call.input = image.data();
  call.outputs = outputs;
  call.output_counts = room;
  check(fastalex_run(net, &call));
  fastalex_destroy(net);

  std::ifstream label_file = open(folder + "/labels.txt");
  std::vector<std::string> labels;
  for (std::string line; std::getline(label_file, line);) labels.push_back(line);
  std::vector<size_t> order(probability.size());
  std::iota(order.begin(), order.end(), size_t(0));
  const size_t shown = std::min<size_t>(5, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown), order.end(),
                    [&](size_t a, size_t b) { return probability[a] > probability[b]; });
  for (size_t i = 0; i < shown; ++i)
    std::cout << (order[i] < labels.size() ? labels[order[i]] : "?") << " " << 100 * probability[order[i]] << " %\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: classify FOLDER (written by export.py)\n";
    return 2;
  }
  try {
    classify(argv[1]);
  } catch (const std::exception& error) {
    std::cerr << "classify: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
