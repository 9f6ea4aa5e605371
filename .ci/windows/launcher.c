/* python.exe: hands its arguments to the interpreter in python311.dll, which lies beside it. */
#include <stdio.h>
#include <windows.h>

int wmain(int argc, wchar_t **argv) {
    HMODULE dll = LoadLibraryW(L"python311.dll");
    if (!dll) {
        fprintf(stderr, "cannot load python311.dll: error %lu\n", GetLastError());
        return 120;
    }
    int (*py_main)(int, wchar_t **) = (void *)GetProcAddress(dll, "Py_Main");
    if (!py_main) {
        fprintf(stderr, "python311.dll has no Py_Main: error %lu\n", GetLastError());
        return 121;
    }
    return py_main(argc, argv);
}
