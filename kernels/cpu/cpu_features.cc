#include "kernels/cpu/cpu_features.h"

#include <cpuid.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace alcca {
namespace {

bool HasF16c() {  // clang 14's __builtin_cpu_supports does not know the name
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace

const char* CpuIsaName(CpuIsa isa) {
  return isa == CpuIsa::kAvx512 ? "avx512" : isa == CpuIsa::kAvx2 ? "avx2" : "portable";
}

bool CpuHas(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512vnni") && CpuHas(CpuIsa::kAvx2);
    case CpuIsa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
    case CpuIsa::kPortable:
      return true;
  }
  return false;
}

absl::StatusOr<CpuIsa> ChooseCpuIsa(const std::string& name) {
  for (const CpuIsa isa : {CpuIsa::kAvx512, CpuIsa::kAvx2, CpuIsa::kPortable}) {
    if (name == "auto" && CpuHas(isa)) {
      return isa;
    }
    if (name == CpuIsaName(isa)) {
      if (!CpuHas(isa)) {
        return absl::FailedPreconditionError(
            absl::StrCat("this CPU has no ", name, "; use isa: auto"));
      }
      return isa;
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("isa \"", name, "\" is not one of auto, avx512, avx2, portable"));
}

}  // namespace alcca
