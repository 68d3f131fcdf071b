# Run by cpack on the folder that becomes the package: what Debian's policy asks of its files.
if(CPACK_SB_NATIVE)
  message(FATAL_ERROR "This build is for processors like that of this machine. A package is for others too: "
                      "cmake --preset portable && cmake --build --preset portable && (cd build/portable && cpack)")
endif()
set(usr ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr)
set(doc ${usr}/share/doc/shardbits)

file(REMOVE ${doc}/LICENSE) # the policy wants the name of a common license, and not its text
configure_file(${CMAKE_CURRENT_LIST_DIR}/copyright ${doc}/copyright COPYONLY)
file(RENAME ${doc}/CHANGELOG.md ${doc}/changelog)
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC) # that of SOURCE_DATE_EPOCH, if that is set
file(WRITE ${doc}/changelog.Debian
     "shardbits (${CPACK_PACKAGE_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}) unstable; urgency=medium\n\n"
     "  * Made by cpack.\n\n -- ${CPACK_PACKAGE_CONTACT}  ${date}\n")
foreach(file ${doc}/changelog ${doc}/changelog.Debian ${usr}/share/man/man1/shardbits.1)
  execute_process(COMMAND gzip -9n ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()

# Where zsh of Debian looks for what packages bring.
file(RENAME ${usr}/share/zsh/site-functions ${usr}/share/zsh/vendor-completions)
