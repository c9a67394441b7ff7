# Run by cpack on the staged tree: what only a package has. The configuration file of the service,
# Debian's folder of documents, compressed manual pages.
set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY})
set(documents ${root}/usr/share/doc/alcca-server)
file(MAKE_DIRECTORY ${documents} ${root}/etc/alcca)
file(COPY_FILE ${CPACK_ALCCA_SOURCE_DIR}/config/default.yaml ${root}/etc/alcca/alccad.yaml)
file(COPY_FILE ${CPACK_ALCCA_SOURCE_DIR}/deploy/debian/copyright ${documents}/copyright)
file(COPY_FILE ${CPACK_ALCCA_SOURCE_DIR}/deploy/debian/changelog ${documents}/changelog)
file(GLOB pages ${root}/usr/share/man/man*/*.[18])
execute_process(COMMAND gzip -9nf ${documents}/changelog ${pages} COMMAND_ERROR_IS_FATAL ANY)
