# Run by cpack in the staged tree: what Debian's policy wants beside the files of install().
set(share ${CMAKE_INSTALL_PREFIX}/share)
set(documents ${share}/doc/alcca-server)
file(MAKE_DIRECTORY ${documents})
file(COPY_FILE ${CPACK_ALCCA_SOURCE_DIR}/deploy/debian/copyright ${documents}/copyright)
file(COPY_FILE ${CPACK_ALCCA_SOURCE_DIR}/deploy/debian/changelog ${documents}/changelog)
file(GLOB pages ${share}/man/man*/*.[18])
execute_process(COMMAND gzip -9nf ${documents}/changelog ${pages} COMMAND_ERROR_IS_FATAL ANY)
