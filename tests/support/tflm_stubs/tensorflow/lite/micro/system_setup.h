#pragma once

#include "tflm_stub.h"
