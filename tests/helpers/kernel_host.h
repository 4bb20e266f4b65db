// CUDA's words for a host's compiler: threads become loops, one after another, so kernels with barriers do not fit.
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>

#define __global__
#define __device__ static

namespace {
struct Place {
    unsigned x, y, z;
};
Place blockIdx, threadIdx, blockDim;

template <class... A, size_t... I>
void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A *>(arguments[I])...);
}

template <class... A> void run(void (*kernel)(A...), const unsigned *grid, const unsigned *block, void **arguments) {
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++)
                for (threadIdx.z = 0; threadIdx.z < block[2]; threadIdx.z++)
                    for (threadIdx.y = 0; threadIdx.y < block[1]; threadIdx.y++)
                        for (threadIdx.x = 0; threadIdx.x < block[0]; threadIdx.x++)
                            call(kernel, arguments, std::index_sequence_for<A...>());
}
} // namespace
