# Run by cpack on the folder that becomes the package: what Debian's policy asks of its files.
if(CPACK_SB_NATIVE)
  message(FATAL_ERROR "This build is for processors like that of this machine. A package is for others too: "
                      "cmake --preset portable && cmake --build --preset portable && (cd build/portable && cpack)")
endif()
set(usr ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr)
file(RENAME ${usr}/share/doc/shardbits/LICENSE ${usr}/share/doc/shardbits/copyright)
file(RENAME ${usr}/share/doc/shardbits/CHANGELOG.md ${usr}/share/doc/shardbits/changelog)
foreach(file share/doc/shardbits/changelog share/man/man1/shardbits.1)
  execute_process(COMMAND gzip -9n ${usr}/${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
# Where zsh of Debian looks for what packages bring.
file(RENAME ${usr}/share/zsh/site-functions ${usr}/share/zsh/vendor-completions)
