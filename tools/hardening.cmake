# What turns a memory fault into the end of the process, where it would else be a way in. Sanitizer
# builds go without: they check more, and _FORTIFY_SOURCE hides calls from them.
# tests/deploy/hardening_test.py reads the result off the compile commands and the ELF files.
include(CheckPIESupported)
check_pie_supported()

set(HARDENED_COMPILE
  -fstack-protector-strong      # a canary before the return address of functions with buffers
  -fstack-clash-protection      # large frames touch every page: no jumping over the guard page
  -Wformat -Werror=format-security)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
  list(APPEND HARDENED_COMPILE -fcf-protection=full)  # indirect jumps land on endbr64 only
endif()
# nvcc takes none of these as its own.
add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:${HARDENED_COMPILE}>")
# Debian's compilers may define it already, and it means nothing without optimisation.
add_compile_options(
  "$<$<AND:$<COMPILE_LANGUAGE:C,CXX>,$<NOT:$<CONFIG:Debug>>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=3>")
add_compile_definitions($<$<COMPILE_LANGUAGE:C,CXX>:_GLIBCXX_ASSERTIONS>)

# Relocations are done at start and read-only ever after; no executable stack.
add_link_options(LINKER:-z,relro,-z,now,-z,noexecstack)
