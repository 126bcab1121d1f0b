# yagura-guest as a Debian package, for VMs that exist already: `cpack -G DEB` in the build folder. It is static, so
# it depends on nothing. docs/guest-install.md says how to use it.
install(FILES ${CMAKE_SOURCE_DIR}/deploy/systemd/yagura-guest.service DESTINATION lib/systemd/system
  COMPONENT guest)
install(FILES ${CMAKE_SOURCE_DIR}/examples/guest.yaml ${CMAKE_SOURCE_DIR}/docs/guest-install.md
  DESTINATION share/doc/yagura-guest COMPONENT guest)
install(FILES ${CMAKE_SOURCE_DIR}/deploy/systemd/yagura-agent.service DESTINATION lib/systemd/system
  COMPONENT node)

set(CPACK_GENERATOR DEB)
set(CPACK_COMPONENTS_ALL guest)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_GUEST_PACKAGE_NAME yagura-guest)
set(CPACK_DEBIAN_GUEST_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_GUEST_PACKAGE_SECTION admin)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Lets the node watch and guard this VM")
set(CPACK_DEBIAN_GUEST_DESCRIPTION "Performs eBPF calls that the VM's node forwards, after the node has proved
that the root key in /etc/yagura/root.pub knows it, and only within what
/etc/yagura/guest.yaml allows.")
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "Yagura maintainers <maintainers@yagura.dev>")
set(CPACK_DEBIAN_PACKAGE_HOMEPAGE "https://yagura.dev/")
set(CPACK_DEBIAN_GUEST_PACKAGE_CONTROL_EXTRA
  "${CMAKE_SOURCE_DIR}/deploy/deb/postinst;${CMAKE_SOURCE_DIR}/deploy/deb/prerm;${CMAKE_SOURCE_DIR}/deploy/deb/postrm")
set(CPACK_DEBIAN_GUEST_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
