#pragma once

// Which instruction set the CPU backend runs; chosen once, when the backend is created.

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace alcca {

// kAvx512 is F + BW + DQ + VL + VNNI; kAvx2 is AVX2 + FMA + F16C; kPortable is plain C++.
enum class CpuIsa : uint8_t { kPortable, kAvx2, kAvx512 };
const char* CpuIsaName(CpuIsa isa);

bool CpuHas(CpuIsa isa);
// `name` is auto (the best the machine has), avx512, avx2 or portable. InvalidArgument for another
// word, FailedPrecondition if this machine lacks what was asked for.
absl::StatusOr<CpuIsa> ChooseCpuIsa(const std::string& name);

}  // namespace alcca
