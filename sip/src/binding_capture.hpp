// The part of the Python module that the recorder of calls uses.
#pragma once

#include <nanobind/nanobind.h>

namespace push_proxy {

void bind_capture(nanobind::module_& m);

}  // namespace push_proxy
