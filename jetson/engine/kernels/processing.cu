// Pre- and post-processing on the GPU: a frame to a network's input, its output to class ids or joints.
//
// The arithmetic is that of fastnas.jetson.inference (OpenCV's and NumPy's): bilinear weights, and the values that
// pixels have when normalised, come in tables from the host, so that all pixels are computed in integers. Compiled
// without fused multiply-add. Plain C++ without headers or barriers: NVRTC of CUDA 10.2 takes it, and so does a
// host's compiler, with threads as loops.
//
// Bilinear tables have a row for each row or column of the target: the two rows or columns of the source, and their
// two weights. Frames are uint8 [rows, columns, 3]; K classes, J joints, h and w the output's height and width.

typedef unsigned char byte;

// The two weights of a table's row sum to 2048; the shifts are those of OpenCV's fixed point.
__device__ int between(const byte *source, int source_columns, const int *row, const int *column, int channel) {
    const byte *above = source + 3 * (size_t)row[0] * source_columns + channel;
    const byte *below = source + 3 * (size_t)row[1] * source_columns + channel;
    int high = above[3 * column[0]] * column[2] + above[3 * column[1]] * column[3];
    int low = below[3 * column[0]] * column[2] + below[3 * column[1]] * column[3];
    return ((row[2] * (high >> 4) >> 16) + (row[3] * (low >> 4) >> 16) + 2) >> 2;
}

// A frame at another size.
extern "C" __global__ void resize(const byte *source, int source_columns, const int *row_table, const int *column_table,
                                  int rows, int columns, byte *target) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= columns || y >= rows) return;
    byte *pixel = target + 3 * ((size_t)y * columns + x);
    for (int channel = 0; channel < 3; channel++)
        pixel[channel] = between(source, source_columns, row_table + 4 * y, column_table + 4 * x, channel);
}

// Likewise, B, G, R becoming R, G, B.
extern "C" __global__ void resize_to_rgb(const byte *source, int source_columns, const int *row_table,
                                         const int *column_table, int rows, int columns, byte *target) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= columns || y >= rows) return;
    byte *pixel = target + 3 * ((size_t)y * columns + x);
    for (int channel = 0; channel < 3; channel++)
        pixel[channel] = between(source, source_columns, row_table + 4 * y, column_table + 4 * x, 2 - channel);
}

// Likewise, as planes [3, rows, columns]; `normalised` [3, 256] has what each pixel value becomes in R, G and B.
extern "C" __global__ void resize_to_planes(const byte *source, int source_columns, const int *row_table,
                                            const int *column_table, int rows, int columns, const float *normalised,
                                            float *target) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= columns || y >= rows) return;
    for (int channel = 0; channel < 3; channel++) {
        int value = between(source, source_columns, row_table + 4 * y, column_table + 4 * x, 2 - channel);
        target[((size_t)channel * rows + y) * columns + x] = normalised[256 * channel + value];
    }
}

// Whether a value is the higher one, as NumPy's arg-max says: NaN is above everything, and the first of equals stays.
__device__ bool is_higher(float value, float highest) {
    return value > highest || (value != value && highest == highest);
}

// Class ids [h, w] of logits [K, h, w]: the arg-max.
extern "C" __global__ void arg_max(const float *logits, int classes, int cells, byte *target) {
    int cell = blockIdx.x * blockDim.x + threadIdx.x;
    if (cell >= cells) return;
    int best = 0;
    float highest = logits[cell];
    for (int index = 1; index < classes; index++) {
        float value = logits[(size_t)index * cells + cell];
        if (is_higher(value, highest)) highest = value, best = index;
    }
    target[cell] = best;
}

// Class ids [rows, columns] of logits [K, h, w], bilinear between their cells.
extern "C" __global__ void resize_arg_max(const float *logits, int classes, int height, int width, const int *row_cells,
                                          const float *row_weights, const int *column_cells,
                                          const float *column_weights, int rows, int columns, byte *target) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= columns || y >= rows) return;
    int left = column_cells[2 * x], right = column_cells[2 * x + 1], best = 0;
    float from_left = column_weights[2 * x], from_right = column_weights[2 * x + 1], highest = 0;
    for (int index = 0; index < classes; index++) {
        const float *above = logits + ((size_t)index * height + row_cells[2 * y]) * width;
        const float *below = logits + ((size_t)index * height + row_cells[2 * y + 1]) * width;
        float high = above[left] * from_left + above[right] * from_right;
        float low = below[left] * from_left + below[right] * from_right;
        float value = high * row_weights[2 * y] + low * row_weights[2 * y + 1];
        if (index == 0 || is_higher(value, highest)) highest = value, best = index;
    }
    target[(size_t)y * columns + x] = best;
}

// The row of the highest cell of each column, [J, w], of heatmaps [J, h, w].
extern "C" __global__ void highest_rows(const float *heatmaps, int joints, int height, int width, int *target) {
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= joints * width) return;
    const float *column = heatmaps + (size_t)(index / width) * height * width + index % width;
    int best = 0;
    for (int y = 1; y < height; y++)
        if (is_higher(column[(size_t)y * width], column[(size_t)best * width])) best = y;
    target[index] = best;
}

// The logarithm of a heatmap's value; `lowest` and lower count as `lowest`.
__device__ float logarithm(float value, float lowest) { return logf(value < lowest ? lowest : value); }

// Along an axis the top of the parabola through three logarithms `step` cells apart, from the middle one.
__device__ float parabola(const float *cell, int shift, int step, float lowest, float flattest) {
    float before = logarithm(cell[-shift], lowest), after = logarithm(cell[shift], lowest);
    float curvature = 2 * logarithm(*cell, lowest) - before - after;
    return (after - before) * (step * 0.5f) / (curvature < flattest ? flattest : curvature);
}

// Peaks [J, 3] of (x, y, score) in cells, of heatmaps [J, h, w] and the highest row of each column [J, w].
extern "C" __global__ void peaks(const float *heatmaps, const int *rows, int joints, int height, int width, int step,
                                 float lowest, float flattest, float *target) {
    int joint = blockIdx.x * blockDim.x + threadIdx.x;
    if (joint >= joints) return;
    const float *map = heatmaps + (size_t)joint * height * width;
    int x = 0, y = rows[(size_t)joint * width];
    for (int column = 1; column < width; column++) {
        int row = rows[(size_t)joint * width + column];
        float value = map[(size_t)row * width + column], highest = map[(size_t)y * width + x];
        if (is_higher(value, highest) || (row < y && !is_higher(highest, value))) x = column, y = row;
    }
    const float *cell = map + (size_t)y * width + x;
    bool across = x >= step && x < width - step, down = y >= step && y < height - step;
    target[3 * joint] = x + (across ? parabola(cell, step, step, lowest, flattest) : 0);
    target[3 * joint + 1] = y + (down ? parabola(cell, step * width, step, lowest, flattest) : 0);
    target[3 * joint + 2] = *cell;
}
