# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

# Finds the Dovecot whose dovecot-dev is installed, and asks it for its paths
# and abilities (its own dovecot-config, doveconf and headers answer).
#
#   Dovecot_INCLUDE_DIR   its headers
#   Dovecot_LIBRARY_DIR   libdovecot*.so
#   Dovecot_LIBEXEC_DIR   its services' programs
#   Dovecot_MODULE_DIR    where it loads mail plugins from
#   Dovecot_CONF_DIR      conf.d, whose *.conf it includes
#   Dovecot_ABI           DOVECOT_ABI_VERSION: a module must match it exactly
#   Dovecot_HAVE_SETTINGS_GET   typed settings with modules of their own
#                         (2.4), else plugin { } (2.3)
#   Dovecot_HAVE_NFC_NAMES   it has names of folders in NFC (2.4.3)
#   Dovecot_HAVE_ERROR_TOOBIG   it says so where a mail is larger than any may be
#   Dovecot::headers      interface target for compiling a module
#   Dovecot::dovecot      libdovecot, for a program; it is found where it lies

find_file(Dovecot_CONFIG_SCRIPT dovecot-config
  PATHS /usr/lib /usr/lib64 /usr/local/lib
  PATH_SUFFIXES dovecot
  DOC "The dovecot-config that dovecot-dev installs")

set(Dovecot_ABI "")
if(Dovecot_CONFIG_SCRIPT)
  file(STRINGS ${Dovecot_CONFIG_SCRIPT} _lines)
  foreach(_line IN LISTS _lines)
    if(_line MATCHES "^dovecot_(pkgincludedir|pkglibdir|pkglibexecdir|moduledir)=(.*)$")
      set(_dovecot_${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
    endif()
  endforeach()
  set(Dovecot_INCLUDE_DIR ${_dovecot_pkgincludedir})
  set(Dovecot_LIBRARY_DIR ${_dovecot_pkglibdir})
  set(Dovecot_LIBEXEC_DIR ${_dovecot_pkglibexecdir})
  set(Dovecot_MODULE_DIR ${_dovecot_moduledir})
  if(EXISTS ${Dovecot_INCLUDE_DIR}/config.h)
    file(STRINGS ${Dovecot_INCLUDE_DIR}/config.h _abi REGEX "^#define DOVECOT_ABI_VERSION ")
    string(REGEX REPLACE "^#define DOVECOT_ABI_VERSION \"(.*)\"$" "\\1" Dovecot_ABI "${_abi}")
  endif()
endif()

if(NOT Dovecot_CONF_DIR)
  # The first line that doveconf -n prints names the file that it read.
  find_program(Dovecot_DOVECONF doveconf PATHS /usr/bin /usr/sbin /usr/local/bin)
  set(_conf "")
  if(Dovecot_DOVECONF)
    execute_process(COMMAND ${Dovecot_DOVECONF} -n
      OUTPUT_VARIABLE _out ERROR_QUIET)
    if(_out MATCHES "^# [^\n]*: (/[^\n]*)/dovecot\\.conf")
      set(_conf ${CMAKE_MATCH_1})
    endif()
  endif()
  if(NOT _conf)
    set(_conf /etc/dovecot)
  endif()
  set(Dovecot_CONF_DIR ${_conf}/conf.d CACHE PATH "Dovecot's conf.d")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Dovecot
  REQUIRED_VARS Dovecot_CONFIG_SCRIPT Dovecot_INCLUDE_DIR Dovecot_MODULE_DIR Dovecot_ABI
  REASON_FAILURE_MESSAGE "is dovecot-dev installed?")

if(Dovecot_FOUND AND NOT TARGET Dovecot::headers)
  add_library(Dovecot::headers INTERFACE IMPORTED)
  # As system headers: they are not ours to keep free of warnings.
  set_target_properties(Dovecot::headers PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES ${Dovecot_INCLUDE_DIR}
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${Dovecot_INCLUDE_DIR}
    INTERFACE_COMPILE_DEFINITIONS HAVE_CONFIG_H)
  add_library(Dovecot::dovecot INTERFACE IMPORTED)
  set_target_properties(Dovecot::dovecot PROPERTIES
    INTERFACE_LINK_LIBRARIES "Dovecot::headers;${Dovecot_LIBRARY_DIR}/libdovecot.so")

  include(CheckCSourceCompiles)
  set(CMAKE_REQUIRED_INCLUDES ${Dovecot_INCLUDE_DIR})
  set(CMAKE_REQUIRED_DEFINITIONS -DHAVE_CONFIG_H)
  set(CMAKE_REQUIRED_FLAGS "-std=gnu11 -Wno-error")
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
  check_c_source_compiles("
    #include \"lib.h\"
    #include \"settings.h\"
    void *probe(void) { return (void *)settings_event_add_filter_name; }"
    Dovecot_HAVE_SETTINGS_GET)
  check_c_source_compiles("
    #include \"lib.h\"
    #include \"mail-storage.h\"
    void *probe(void) { return (void *)mailbox_suppress_nfc_name_change_notification; }"
    Dovecot_HAVE_NFC_NAMES)
  check_c_source_compiles("
    #include \"lib.h\"
    #include \"mail-error.h\"
    enum mail_error probe(void) { return MAIL_ERROR_TOOBIG; }"
    Dovecot_HAVE_ERROR_TOOBIG)
  unset(CMAKE_TRY_COMPILE_TARGET_TYPE)
  unset(CMAKE_REQUIRED_INCLUDES)
  unset(CMAKE_REQUIRED_DEFINITIONS)
  unset(CMAKE_REQUIRED_FLAGS)
  message(STATUS "Dovecot ABI ${Dovecot_ABI}, modules in ${Dovecot_MODULE_DIR}, configuration in ${Dovecot_CONF_DIR}")
endif()
