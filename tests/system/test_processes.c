#include "harness.h"
TEST(nothing){}
