# `cmake --install` and `cpack`: what a machine gets, under PREFIX. The container image is made from
# the same rules (Dockerfile).
include(GNUInstallDirs)
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)  # cpack packs what `make build` built, and builds no test

install(TARGETS alccad alcca RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/afia-5m
        DESTINATION ${CMAKE_INSTALL_DATADIR}/alcca/models
        COMPONENT runtime PATTERN heldout.txt EXCLUDE)

# Manual pages and completions say what --help says; a sanitizer's build would say the same, slower.
set(PAGES_DIR ${CMAKE_BINARY_DIR}/pages)
file(GLOB PAGES_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tools/pages/*)
find_package(Python3 REQUIRED COMPONENTS Interpreter)
if(NOT ALCCA_SANITIZE)
  add_custom_command(
    OUTPUT ${PAGES_DIR}/man/man8/alccad.8
    COMMAND ${Python3_EXECUTABLE} -B ${PROJECT_SOURCE_DIR}/tools/pages/make_pages.py
            $<TARGET_FILE:alccad> $<TARGET_FILE:alcca> ${PROJECT_SOURCE_DIR} ${PAGES_DIR}
    DEPENDS alccad alcca ${PAGES_SOURCES} ${PROJECT_SOURCE_DIR}/docs/operations.md
    COMMENT "Manual pages and completions"
    VERBATIM)
  add_custom_target(pages ALL DEPENDS ${PAGES_DIR}/man/man8/alccad.8)
  install(DIRECTORY ${PAGES_DIR}/ DESTINATION ${CMAKE_INSTALL_DATADIR})
endif()

install(FILES ${PROJECT_SOURCE_DIR}/deploy/systemd/alccad.service DESTINATION lib/systemd/system)
install(FILES ${PROJECT_SOURCE_DIR}/deploy/systemd/alcca-sysusers.conf
        DESTINATION lib/sysusers.d RENAME alcca.conf)
install(FILES ${PROJECT_SOURCE_DIR}/deploy/systemd/alccad-cuda.conf
              ${PROJECT_SOURCE_DIR}/config/mistral-7b.yaml
        DESTINATION ${CMAKE_INSTALL_DATADIR}/alcca/examples)

include(deploy/debian/package.cmake)
