//  SPDX-License-Identifier: MIT
//  config.h - what the command ztrace tells its library: the environment of the traced program
//
//  The library takes these variables out of the environment again in processes that it does not
//  trace.

#pragma once

#define CONFIG_PID "ZTRACE_PID"      //  The process that ztrace became
#define CONFIG_FLAGS "ZTRACE_FLAGS"  //  Letters, see below
#define CONFIG_TEXT "ZTRACE_TEXT"  //  The file for text; not set: no text, or stderr (FLAG_STDERR)
#define CONFIG_JSON "ZTRACE_JSON"  //  The file for JSON; not set: no JSON
#define CONFIG_STDERR "ZTRACE_STDERR"    //  fd:device:inode of the stderr that ztrace had
#define CONFIG_LIBRARY "ZTRACE_LIBRARY"  //  The path in LD_AUDIT

#define FLAG_FOLLOW 'f'
#define FLAG_INPROC 'i'
#define FLAG_STDERR 'e'
#define FLAG_VLLM 'v'
