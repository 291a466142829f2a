Console.WriteLine("varlen");
return 0;
